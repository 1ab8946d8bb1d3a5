//! A flow in the language of Graphviz.

use std::fmt::Write as _;

use signoff_api::text::visible;

use super::model::{DrawnStep, Graph, Tone};

pub(crate) fn render(graph: &Graph) -> String {
    let mut out = String::from("digraph flow {\n");
    // writing to a String cannot fail
    let _ = writeln!(
        out,
        "  label={};\n  labelloc=t;\n  node [shape=box, style=rounded];",
        quoted(&graph.title)
    );
    let main = graph.main();
    for (i, step) in graph.steps.iter().enumerate().take(main) {
        let _ = writeln!(out, "  {}", node(i, step));
    }
    for link in graph.links() {
        let label = graph.label(link);
        let label = if label.is_empty() {
            String::new()
        } else {
            format!(" [label={}]", quoted(&label))
        };
        let _ = writeln!(out, "  s{} -> s{}{label};", link.from, link.to);
    }
    for again in &graph.loops {
        let label = quoted(&again.about);
        let _ = writeln!(
            out,
            "  s{} -> s{} [style=dashed, constraint=false, label={label}];",
            again.last, again.first
        );
    }
    if main < graph.steps.len() {
        out.push_str("  subgraph cluster_finally {\n    label=finally;\n    style=dashed;\n");
        for (i, step) in graph.steps.iter().enumerate().skip(main) {
            let _ = writeln!(out, "    {}", node(i, step));
            if i > main {
                let _ = writeln!(out, "    s{} -> s{i};", i - 1);
            }
        }
        out.push_str("  }\n");
    }
    out.push_str("}\n");
    out
}

fn node(index: usize, step: &DrawnStep) -> String {
    let mut label = format!(
        "{} ({})\n{}",
        visible(&step.name),
        step.kind,
        visible(&step.about)
    );
    let color = match &step.run {
        None => "",
        Some(run) => {
            label = format!("{label}\n{}", visible(&run.line()));
            match run.tone {
                Tone::Good => ", color=green4",
                Tone::Bad => ", color=red3",
                Tone::Active => ", color=orange3",
                Tone::Idle => ", color=gray60",
            }
        }
    };
    let shape = if step.is_approval { ", shape=octagon" } else { "" };
    let lines: Vec<String> = label.split('\n').map(escaped).collect();
    format!("s{index} [label=\"{}\"{shape}{color}];", lines.join("\\n"))
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('"', "\\\"")
}
