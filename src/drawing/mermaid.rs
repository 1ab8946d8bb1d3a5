//! A flow in the language of Mermaid, which forges draw within Markdown.

use std::fmt::Write as _;

use signoff_api::text::visible;

use super::model::{DrawnStep, Graph, Tone};

/// Longest text of a definition, in characters.
const LONGEST: usize = 80;

pub(crate) fn render(graph: &Graph) -> String {
    let mut out = String::from("flowchart TD\n");
    let main = graph.main();
    // writing to a String cannot fail
    for (i, step) in graph.steps.iter().enumerate().take(main) {
        let _ = writeln!(out, "  {}", node(i, step));
    }
    for link in graph.links() {
        let label = graph.label(link);
        let label = if label.is_empty() {
            String::new()
        } else {
            format!("|{}|", quoted(&label))
        };
        let _ = writeln!(out, "  s{} -->{label} s{}", link.from, link.to);
    }
    for again in &graph.loops {
        let _ = writeln!(
            out,
            "  s{} -.->|{}| s{}",
            again.last,
            quoted(&again.about),
            again.first
        );
    }
    if main < graph.steps.len() {
        out.push_str("  subgraph finally\n");
        for (i, step) in graph.steps.iter().enumerate().skip(main) {
            let _ = writeln!(out, "    {}", node(i, step));
            if i > main {
                let _ = writeln!(out, "    s{} --> s{i}", i - 1);
            }
        }
        out.push_str("  end\n");
    }
    for (i, step) in graph.steps.iter().enumerate() {
        let stroke = match step.run.as_ref().map(|run| run.tone) {
            None => continue,
            Some(Tone::Good) => "#1a7f37",
            Some(Tone::Bad) => "#cf222e",
            Some(Tone::Active) => "#bf8700",
            Some(Tone::Idle) => "#8c959f",
        };
        let _ = writeln!(out, "  style s{i} stroke:{stroke},stroke-width:3px");
    }
    out
}

fn node(index: usize, step: &DrawnStep) -> String {
    let mut lines = vec![format!("{} ({})", step.name, step.kind), step.about.clone()];
    lines.extend(step.run.as_ref().map(super::model::Progress::line));
    let lines: Vec<String> = lines.iter().map(|line| escaped(line)).collect();
    let label = format!("\"{}\"", lines.join("<br/>"));
    if step.is_approval {
        format!("s{index}{{{{{label}}}}}")
    } else {
        format!("s{index}[{label}]")
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Everything that means something to Mermaid, or to the HTML that it makes, is written as a number.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let text = visible(text);
    for c in text.chars().take(LONGEST) {
        if c.is_alphanumeric() || " ,.:/()-_=+?!".contains(c) {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    if text.chars().count() > LONGEST {
        out.push('…');
    }
    out
}
