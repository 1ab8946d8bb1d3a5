//! The table that is printed, in Markdown.

use crate::server::Server;

pub struct Table {
    title: String,
    rows: Vec<[String; 3]>,
}

impl Table {
    pub fn begin(server: &Server) -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let build = if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        };
        let title = format!("{:?} API server, {cores} cores, {build} build", server.kind);
        Self {
            title,
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, what: &str, signoff: &str, alone: &str) {
        eprintln!("  {what}: {signoff}   {alone}");
        self.rows.push([what, signoff, alone].map(str::to_owned));
    }

    pub fn print(&self) {
        println!("{}\n", self.title);
        println!("| What | Signoff | the API server alone, in the same run |");
        println!("|---|---|---|");
        for [what, signoff, alone] in &self.rows {
            println!("| {what} | {signoff} | {alone} |");
        }
    }
}
