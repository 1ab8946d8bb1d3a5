//! A flow as text: the steps in order, with lanes that lead from each to those that need it.

use signoff_api::text::visible;

use crate::{
    cli::lines::{Lines, columns, cut},
    drawing::{
        layout::{LaneRow, lanes},
        model::{DrawnStep, Graph, Tone},
    },
};

/// More lanes than this are not drawn: the steps say what they come after.
const MOST_LANES: usize = 16;
/// Widest name that the column of names makes room for.
const WIDEST_NAME: usize = 32;
/// Longest text of a definition, in columns.
const LONGEST: usize = 100;

const GOES_BACK: char = '↺';

pub(super) fn render(graph: &Graph) -> Lines {
    let main = graph.main();
    let rows = lanes(main, &graph.links());
    let width = rows
        .iter()
        .map(|row| row.before.len().max(row.after.len()).max(row.at + 1))
        .max()
        .unwrap_or(1);
    let is_drawn = width <= MOST_LANES;
    let names = graph.steps.iter().map(|step| columns(&visible(&step.name)));
    let names = names.max().unwrap_or(0).min(WIDEST_NAME);
    let mut lines = Lines::default();
    lines.push(&graph.title);
    lines.blank();
    for row in &rows {
        let step = &graph.steps[row.step];
        let rail = Rail { row, width, is_drawn };
        if let Some(connector) = rail.connector() {
            lines.push(connector);
        }
        lines.push(headline(&rail.at(symbol(step)), step, names));
        for detail in details(graph, row.step, is_drawn) {
            lines.push(format!("{}    {detail}", rail.below()));
        }
    }
    if main < graph.steps.len() {
        lines.blank();
        lines.push("finally, in every case:");
        for (i, step) in graph.steps.iter().enumerate().skip(main) {
            let is_last = i + 1 == graph.steps.len();
            lines.push(headline(&symbol(step).to_string(), step, names));
            for detail in details(graph, i, is_drawn) {
                lines.push(format!("{}    {detail}", if is_last { " " } else { "│" }));
            }
        }
    }
    lines.blank();
    lines.push(legend(graph));
    lines
}

fn headline(rail: &str, step: &DrawnStep, names: usize) -> String {
    let name = visible(&step.name).into_owned();
    let gap = " ".repeat(names.saturating_sub(columns(&name)));
    format!(
        "{rail}  {name}{gap}  {:<8}  {}",
        step.kind,
        shortened(&step.about)
    )
}

/// Text of others on one line.
fn shortened(text: &str) -> String {
    cut(&visible(text), LONGEST)
}

fn details(graph: &Graph, index: usize, is_drawn: bool) -> Vec<String> {
    let step = &graph.steps[index];
    let mut details = Vec::new();
    if let Some(run) = &step.run {
        details.push(shortened(&run.line()));
        details.extend((!run.why.is_empty()).then(|| shortened(&run.why)));
    }
    let has_outcomes = step
        .needs
        .iter()
        .any(|need| !need.outcomes.is_empty() || need.index.is_none());
    if graph.has_needs && !step.needs.is_empty() && (step.needs.len() > 1 || has_outcomes || !is_drawn) {
        let needs = step
            .needs
            .iter()
            .map(|need| match (need.outcomes.as_slice(), need.index) {
                (_, None) => format!("{}, which is not there", need.step),
                ([], Some(_)) => need.step.clone(),
                (outcomes, Some(_)) => format!("{} ({})", need.step, outcomes.join(" or ")),
            });
        details.push(shortened(&format!(
            "after {}",
            needs.collect::<Vec<_>>().join(", ")
        )));
    }
    details.extend(step.notes.iter().map(|note| shortened(note)));
    let loops = graph
        .loops
        .iter()
        .filter(|again| again.last == index && !step.is_finally);
    details.extend(loops.map(|again| {
        let to = if again.first == again.last {
            "again".to_owned()
        } else {
            format!("back to {}", again.to)
        };
        shortened(&format!("{GOES_BACK} {to} {}", again.about))
    }));
    details
}

fn symbol(step: &DrawnStep) -> char {
    match step.run.as_ref().map(|run| run.tone) {
        Some(Tone::Good) => '✓',
        Some(Tone::Bad) => '✗',
        Some(Tone::Active) => '▸',
        Some(Tone::Idle) => '·',
        None if step.is_approval => '◆',
        None => match step.kind {
            "wait" => '○',
            "flow" => '▷',
            "end" => '■',
            _ => '●',
        },
    }
}

/// What the symbols that occur mean.
fn legend(graph: &Graph) -> String {
    let known = [
        ('◆', "asks people"),
        ('○', "waits"),
        ('▷', "runs a flow"),
        ('■', "ends the run"),
        ('●', "does something"),
        ('✓', "done"),
        ('✗', "failed"),
        ('▸', "under way"),
        ('·', "nothing done"),
    ];
    let used = |symbol: char| graph.steps.iter().any(|step| self::symbol(step) == symbol);
    let used = known.iter().filter(|(symbol, _)| used(*symbol));
    let mut all: Vec<String> = used
        .map(|(symbol, meaning)| format!("{symbol} {meaning}"))
        .collect();
    all.extend((!graph.loops.is_empty()).then(|| format!("{GOES_BACK} goes back")));
    all.join("   ")
}

/// The lanes beside a step.
struct Rail<'a> {
    row: &'a LaneRow,
    width: usize,
    is_drawn: bool,
}

impl Rail<'_> {
    fn columns(&self, of: impl Fn(usize) -> char) -> String {
        let lanes = (0..self.width).map(of);
        let text: String = lanes.flat_map(|lane| [lane, ' ']).collect();
        let mut text = text;
        text.pop();
        text
    }

    /// Beside the step itself.
    fn at(&self, symbol: char) -> String {
        if !self.is_drawn {
            return symbol.to_string();
        }
        let used = |lane: usize| self.row.after.get(lane).copied().unwrap_or_default();
        self.columns(|lane| match lane {
            lane if lane == self.row.at => symbol,
            lane if used(lane) => '│',
            _ => ' ',
        })
    }

    /// Beside the lines below the step.
    fn below(&self) -> String {
        if !self.is_drawn {
            return " ".to_owned();
        }
        let used = |lane: usize| self.row.after.get(lane).copied().unwrap_or_default();
        self.columns(|lane| if used(lane) { '│' } else { ' ' })
    }

    /// The line above the step that leads other lanes to it, if there are any.
    fn connector(&self) -> Option<String> {
        let LaneRow {
            before,
            joined,
            at,
            after,
            ..
        } = self.row;
        let ends = joined.iter().copied().chain([*at]);
        let (first, last) = (ends.clone().min()?, ends.max()?);
        if !self.is_drawn || joined.is_empty() || first == last {
            return None;
        }
        let used = |lanes: &[bool], lane: usize| lanes.get(lane).copied().unwrap_or_default();
        let char_at = |lane: usize| {
            let (is_own, is_joined) = (lane == *at, joined.contains(&lane));
            let is_within = (first..=last).contains(&lane);
            if !is_own && !is_joined {
                return match (used(before, lane), is_within) {
                    (true, _) => '│',
                    (false, true) => '─',
                    (false, false) => ' ',
                };
            }
            let (up, down) = (is_joined, is_own || used(after, lane));
            match (up, down, lane > first, lane < last) {
                (true, true, false, _) => '├',
                (true, true, true, false) => '┤',
                (true, true, true, true) => '┼',
                (true, false, true, false) => '╯',
                (true, false, false, _) => '╰',
                (true, false, true, true) => '┴',
                (false, _, true, false) => '╮',
                (false, _, false, _) => '╭',
                (false, _, true, true) => '┬',
            }
        };
        let mut text = String::new();
        for lane in 0..self.width {
            text.push(char_at(lane));
            text.push(if (first..last).contains(&lane) { '─' } else { ' ' });
        }
        Some(text)
    }
}
