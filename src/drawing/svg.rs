//! A flow as an SVG picture: a box for each step, layer below layer. Its colours follow the reader's light or dark theme.

use std::{collections::BTreeMap, fmt::Write as _};

use signoff_api::text::visible;

use super::{
    columns, cut,
    layout::{Slot, layers},
    model::{DrawnStep, Graph, Tone},
};

/// Sizes in pixels.
const BOX: usize = 340;
const PASS: usize = 12;
const GAP: usize = 36;
const LAYER_GAP: usize = 56;
const MARGIN: usize = 24;
const PAD: usize = 12;
const LINE: usize = 18;
const HEADING: usize = 56;
/// Columns of text that a box has room for.
const ROOM: usize = 42;
/// Columns of a line beside a loop, and how many pixels one takes.
const LOOP_ROOM: usize = 26;
const COLUMN: usize = 7;
/// Most lines beside a loop.
const LOOP_LINES: usize = 6;

const STYLE: &str = "\
text{font:13px ui-sans-serif,system-ui,sans-serif;fill:#424a53}\
.title{font-size:17px;font-weight:600;fill:#1f2328}.name{font-weight:600;fill:#1f2328}\
.page{fill:#fff}.box{fill:#f6f8fa;stroke:#6e7781;stroke-width:1.5}\
.edge{fill:none;stroke:#6e7781;stroke-width:1.5}.again{stroke-dasharray:5 4}.tip{fill:#6e7781}\
.label{stroke:#fff;stroke-width:4;paint-order:stroke;text-anchor:middle}\
.approval{stroke:#8250df;stroke-width:3}\
.good{fill:#dafbe1;stroke:#1a7f37}.bad{fill:#ffebe9;stroke:#cf222e}.active{fill:#fff8c5;stroke:#9a6700}\
.idle{stroke-dasharray:4 3}\
@media(prefers-color-scheme:dark){\
text{fill:#b1bac4}.title,.name{fill:#f0f6fc}.page{fill:#0d1117}.box{fill:#161b22;stroke:#8b949e}\
.edge{stroke:#8b949e}.tip{fill:#8b949e}.label{stroke:#0d1117}.approval{stroke:#a371f7}\
.good{fill:#0f2a18;stroke:#3fb950}.bad{fill:#2d1214;stroke:#f85149}.active{fill:#2b2309;stroke:#d29922}}";

/// Where a box is.
#[derive(Clone, Copy, Default)]
struct Place {
    x: usize,
    y: usize,
    height: usize,
}

impl Place {
    fn middle(self) -> usize {
        self.x + BOX / 2
    }

    fn bottom(self) -> usize {
        self.y + self.height
    }

    fn centre(self) -> usize {
        self.y + self.height / 2
    }
}

/// Where everything is.
struct Picture {
    places: Vec<Place>,
    /// The middle of each place where links pass a layer, by layer and step.
    passes: BTreeMap<(usize, usize), usize>,
    /// The layer of each step, and where each layer begins and ends.
    layer_of: Vec<usize>,
    bands: Vec<(usize, usize)>,
    width: usize,
    /// Where the steps of `finally` are set apart.
    finally: Option<usize>,
    height: usize,
}

/// As a file, with its styles.
pub(crate) fn render(graph: &Graph) -> String {
    let Drawn {
        title,
        width,
        height,
        body,
    } = drawn(graph);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

/// Within a page, which has the styles of its class. All text in it is escaped.
pub(crate) fn in_page(graph: &Graph) -> String {
    let Drawn {
        title,
        width,
        height,
        body,
    } = drawn(graph);
    format!(
        "<svg class=\"graph\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<title>{title}</title>\n{body}</svg>\n"
    )
}

struct Drawn {
    /// Escaped.
    title: String,
    width: usize,
    height: usize,
    body: String,
}

fn drawn(graph: &Graph) -> Drawn {
    let picture = arrange(graph);
    let mut body = String::new();
    edges(graph, &picture, &mut body);
    let width = loops(graph, &picture, &mut body);
    let title_width = columns(&visible(&graph.title)) * 10;
    let width = (width + MARGIN).max(title_width + 2 * MARGIN);
    let height = picture.height + MARGIN;
    for (step, place) in graph.steps.iter().zip(&picture.places) {
        draw_box(step, *place, &mut body);
    }
    if let Some(y) = picture.finally {
        let end = picture.width;
        // writing to a String cannot fail
        let _ = writeln!(
            body,
            "<path class=\"edge again\" d=\"M{MARGIN} {y}H{end}\"/><text x=\"{MARGIN}\" y=\"{}\">finally, in every case</text>",
            y + LINE - 4
        );
    }
    let title = escaped(&graph.title);
    let body = format!(
        "<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path class=\"tip\" d=\"M0 0L10 5L0 10z\"/></marker></defs>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"{MARGIN}\" y=\"{}\">{title}</text>\n{body}",
        MARGIN + LINE
    );
    Drawn {
        title,
        width,
        height,
        body,
    }
}

fn arrange(graph: &Graph) -> Picture {
    let main = graph.main();
    let rows = layers(main, &graph.links()).rows;
    let widths = rows.iter().map(|row| {
        let slots = row.iter().map(|slot| match slot {
            Slot::Step(_) => BOX,
            Slot::Pass(_) => PASS,
        });
        slots.sum::<usize>() + GAP * row.len().saturating_sub(1)
    });
    let widths: Vec<usize> = widths.collect();
    let widest = widths.iter().copied().max().unwrap_or(0).max(BOX);
    let mut picture = Picture {
        places: vec![Place::default(); graph.steps.len()],
        passes: BTreeMap::new(),
        layer_of: vec![0; main],
        bands: vec![],
        width: MARGIN + widest,
        finally: None,
        height: 0,
    };
    let mut y = HEADING + MARGIN / 2;
    for (layer, (row, width)) in rows.iter().zip(widths).enumerate() {
        let mut x = MARGIN + (widest - width) / 2;
        let mut bottom = y;
        for slot in row {
            match slot {
                Slot::Step(step) => {
                    let height = height_of(&graph.steps[*step]);
                    picture.places[*step] = Place { x, y, height };
                    picture.layer_of[*step] = layer;
                    bottom = bottom.max(y + height);
                    x += BOX + GAP;
                }
                Slot::Pass(step) => {
                    picture.passes.insert((layer, *step), x + PASS / 2);
                    x += PASS + GAP;
                }
            }
        }
        picture.bands.push((y, bottom));
        picture.height = bottom;
        y = bottom + LAYER_GAP;
    }
    if main < graph.steps.len() {
        picture.finally = Some(picture.height + LAYER_GAP / 2);
        let x = MARGIN + (widest - BOX) / 2;
        for (i, step) in graph.steps.iter().enumerate().skip(main) {
            let height = height_of(step);
            picture.places[i] = Place { x, y, height };
            picture.height = y + height;
            y = picture.height + LAYER_GAP / 2;
        }
    }
    picture
}

fn height_of(step: &DrawnStep) -> usize {
    2 * PAD + LINE * lines(step).len()
}

/// The lines in a box below its name and kind.
fn lines(step: &DrawnStep) -> Vec<String> {
    let mut all = vec![String::new(), step.about.clone()];
    all.extend(step.notes.iter().cloned());
    if let Some(run) = &step.run {
        all.push(run.line());
        all.push(run.why.clone());
    }
    let is_first = |at: usize| at == 0;
    let all = all.into_iter().enumerate();
    let kept = all.filter(|(at, line)| is_first(*at) || !line.is_empty());
    kept.map(|(_, line)| line).collect()
}

fn draw_box(step: &DrawnStep, place: Place, out: &mut String) {
    let Place { x, y, height } = place;
    let mut class = "box".to_owned();
    if step.is_approval {
        class.push_str(" approval");
    }
    class.push_str(match step.run.as_ref().map(|run| run.tone) {
        None => "",
        Some(Tone::Good) => " good",
        Some(Tone::Bad) => " bad",
        Some(Tone::Active) => " active",
        Some(Tone::Idle) => " idle",
    });
    let radius = if step.is_approval { height / 2 } else { 6 };
    let radius = radius.min(22);
    let lines = lines(step);
    let whole: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| !line.is_empty())
        .collect();
    let whole = whole
        .iter()
        .map(|line| escaped(line))
        .collect::<Vec<_>>()
        .join("\n");
    let _ = write!(
        out,
        "<g><title>{} ({})\n{whole}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" rx=\"{radius}\"/>",
        escaped(&step.name),
        step.kind,
    );
    let left = x + PAD + 4;
    for (at, line) in lines.iter().enumerate() {
        let base = y + PAD + LINE * at + 13;
        if at == 0 {
            let name = escaped(&cut(&visible(&step.name), ROOM - 10));
            let mark = if step.is_approval { "◆ " } else { "" };
            let _ = write!(
                out,
                "<text class=\"name\" x=\"{left}\" y=\"{base}\">{mark}{name}</text><text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>",
                x + BOX - PAD - 4,
                step.kind
            );
        } else {
            let line = escaped(&cut(&visible(line), ROOM));
            let _ = write!(out, "<text x=\"{left}\" y=\"{base}\">{line}</text>");
        }
    }
    out.push_str("</g>\n");
}

/// The links, then their labels, so that no link is drawn over a label.
fn edges(graph: &Graph, picture: &Picture, out: &mut String) {
    let mut labels = String::new();
    for link in graph.links() {
        let (from, to) = (picture.places[link.from], picture.places[link.to]);
        let (begin, end) = (picture.layer_of[link.from], picture.layer_of[link.to]);
        // in a circle, a link leads up and has no place of its own
        if begin >= end {
            continue;
        }
        let mut at = (from.middle(), picture.bands[begin].1);
        let mut path = format!("M{} {}V{}", at.0, from.bottom(), at.1);
        for layer in begin + 1..end {
            let x = picture.passes.get(&(layer, link.from)).copied().unwrap_or(at.0);
            let (top, bottom) = picture.bands[layer];
            let half = usize::midpoint(at.1, top);
            let _ = write!(path, "C{} {half} {x} {half} {x} {top}V{bottom}", at.0);
            at = (x, bottom);
        }
        let half = usize::midpoint(at.1, to.y);
        let _ = write!(path, "C{} {half} {x} {half} {x} {}", at.0, to.y, x = to.middle());
        let _ = writeln!(
            out,
            "<path class=\"edge\" marker-end=\"url(#tip)\" d=\"{path}\"/>"
        );
        let label = graph.label(link);
        if !label.is_empty() {
            let x = usize::midpoint(at.0, to.middle());
            let _ = writeln!(
                labels,
                "<text class=\"label\" x=\"{x}\" y=\"{}\">{}</text>",
                half + 5,
                escaped(&label)
            );
        }
    }
    let main = graph.main();
    for pair in picture.places[main..].windows(2) {
        let (x, from, to) = (pair[0].middle(), pair[0].bottom(), pair[1].y);
        let _ = writeln!(
            out,
            "<path class=\"edge\" marker-end=\"url(#tip)\" d=\"M{x} {from}V{to}\"/>"
        );
    }
    out.push_str(&labels);
}

/// Draws the loops to the right of all steps. Gives how wide the picture is then.
fn loops(graph: &Graph, picture: &Picture, out: &mut String) -> usize {
    let mut x = picture.width + GAP;
    for again in &graph.loops {
        let (first, last) = (picture.places[again.first], picture.places[again.last]);
        // of a step that is repeated alone, the two ends stand apart
        let apart = if again.first == again.last { LINE / 2 } else { 0 };
        let (top, bottom) = (first.centre() - apart, last.centre() + apart);
        let _ = writeln!(
            out,
            "<path class=\"edge again\" marker-end=\"url(#tip)\" d=\"M{} {bottom}H{x}V{top}H{}\"/>",
            last.x + BOX,
            first.x + BOX
        );
        let lines = wrapped(&visible(&again.about));
        let middle = usize::midpoint(top, bottom);
        let begin = middle.saturating_sub(LINE * lines.len() / 2) + 13;
        for (at, line) in lines.iter().enumerate() {
            let y = begin + LINE * at;
            let _ = writeln!(out, "<text x=\"{}\" y=\"{y}\">{}</text>", x + 8, escaped(line));
        }
        let widest = lines.iter().map(|line| columns(line)).max().unwrap_or(0);
        x += widest * COLUMN + GAP;
    }
    if graph.loops.is_empty() {
        picture.width
    } else {
        x - GAP
    }
}

/// A text on several short lines.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if columns(line) + columns(word) < LOOP_ROOM => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(cut(word, LOOP_ROOM)),
        }
    }
    if lines.len() > LOOP_LINES {
        lines.truncate(LOOP_LINES);
        if let Some(last) = lines.last_mut() {
            last.push('…');
        }
    }
    lines
}

/// Text as XML takes it, with everything in it visible.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
