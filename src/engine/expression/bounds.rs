//! Parses an expression within bounds. The parser recurses with every bracket and takes some hundred kilobytes for each; what is built,
//! walked, evaluated and dropped later recurses too. An expression can come from anybody who may push, and an overflow of the stack would
//! end the process.

use kube_cel::cel::{common::ast::IdedExpr, parser::Parser};

use super::{ExpressionProblem, children};

/// Deepest tree: brackets, chained operators and selected fields all count.
const MAX_DEPTH: usize = 200;
/// Most conditionals.
const MAX_CONDITIONALS: usize = 32;
/// Most brackets within one another: with the conditionals, fewer than the parser's own bound, beyond which it may not end.
const MAX_BRACKETS: usize = 56;
/// Stack on which the parser reaches its bound, which is 96 brackets, with room to spare.
const STACK: usize = 64 << 20;
/// Brackets that the stack of any thread has room for.
const FEW_BRACKETS: usize = 4;
/// Length up to which any chain is short enough for any stack.
const SHORT: usize = 512;

/// Parses one expression.
pub(super) fn parse(source: &str) -> Result<IdedExpr, ExpressionProblem> {
    let count = |marks: &[u8]| source.bytes().filter(|byte| marks.contains(byte)).count();
    // those in texts count too: telling them apart is the parser's work
    if count(b"?") > MAX_CONDITIONALS {
        return Err(problem(format!(
            "an expression has at most {MAX_CONDITIONALS} question marks"
        )));
    }
    let brackets = nesting(source);
    if brackets > MAX_BRACKETS {
        return Err(too_deep());
    }
    if source.len() <= SHORT && brackets <= FEW_BRACKETS {
        return bounded(source);
    }
    stacker::grow(STACK, || bounded(source))
}

/// Most brackets that are open at once; or all of them, where it takes the parser to tell which of them a text or a comment closes.
fn nesting(source: &str) -> usize {
    let mut marks = ["\\", "'''", "\"\"\"", "//"].iter();
    let is_plain = marks.all(|mark| !source.contains(mark));
    let (mut open, mut most, mut quote) = (0_usize, 0, None);
    for c in source.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (_, Some(quoted)) if c == quoted => quote = None,
            ('(' | '[' | '{', _) => open += 1,
            (')' | ']' | '}', None) if is_plain => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn bounded(source: &str) -> Result<IdedExpr, ExpressionProblem> {
    // beyond its bound on recursion the parser may also panic
    let parsed = std::panic::catch_unwind(|| Parser::default().parse(source)).map_err(|_| too_deep())?;
    let tree = parsed.map_err(|errors| match errors.errors.first() {
        Some(error) if error.msg.contains("Recursion limit") => too_deep(),
        Some(error) => ExpressionProblem {
            offset: offset_of(source, error.pos),
            message: format!("syntax error: {}", error.msg),
        },
        None => problem("syntax error".to_owned()),
    })?;
    // a tree that is too deep is dropped here, where there is stack for it
    if depth(&tree) > MAX_DEPTH {
        return Err(too_deep());
    }
    Ok(tree)
}

fn depth(tree: &IdedExpr) -> usize {
    1 + children(&tree.expr).into_iter().map(depth).max().unwrap_or(0)
}

fn too_deep() -> ExpressionProblem {
    problem("the expression is nested too deeply".to_owned())
}

fn problem(message: String) -> ExpressionProblem {
    ExpressionProblem { offset: 0, message }
}

/// The parser counts lines and columns from 1; a string is mostly one line.
fn offset_of(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let column = usize::try_from(column).unwrap_or(1).max(1);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    (before + column - 1).min(source.len())
}

#[cfg(test)]
mod tests {
    use super::parse;

    /// Stack as the runtime's threads have it.
    const THREAD: usize = 2 << 20;

    fn parsed(source: String) -> Result<(), String> {
        let parsing = std::thread::Builder::new().stack_size(THREAD);
        let parsing = parsing.spawn(move || parse(&source).map(|_| ()).map_err(|problem| problem.message));
        parsing.unwrap().join().unwrap()
    }

    #[test]
    fn brackets_and_chains_are_refused_before_they_overflow_the_stack() {
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("size(", "[1]", ")"),
            ("(", "1", ""),
            ("[", "", ""),
            ("1+", "1", ""),
            ("a.", "a", ""),
            ("", "a", "[0]"),
            ("", "a", ".b()"),
            ("!(", "true", ")"),
            ("-(", "1", ")"),
        ] {
            let many = 4_000 / (open.len() + close.len());
            let error = parsed(format!("{}{middle}{}", open.repeat(many), close.repeat(many))).unwrap_err();
            assert!(
                error.contains("nested too deeply") || error.contains("syntax"),
                "{open}{close}: {error}"
            );
            parsed(format!("{}{middle}{}", open.repeat(20), close.repeat(20))).unwrap_or_else(|error| {
                assert!(
                    close.is_empty() && error.contains("syntax"),
                    "{open}{close}: {error}"
                );
            });
        }
    }

    #[test]
    fn conditionals_are_counted_before_the_parser_tries_them() {
        let chain = |count: usize| format!("{}0", "true?1:".repeat(count));
        assert_eq!(parsed(chain(32)), Ok(()));
        assert!(parsed(chain(33)).unwrap_err().contains("question marks"));
        let within = |count: usize| format!("{}0{}", "(true?1:".repeat(count), ")".repeat(count));
        assert_eq!(parsed(within(32)), Ok(()));
        let most = format!("{}{}{}", "(".repeat(56), chain(32), ")".repeat(56));
        assert_eq!(parsed(most), Ok(()));
    }

    #[test]
    fn brackets_in_texts_and_comments_hide_no_others() {
        for hiding in [r#""\"))))))""#, "'''it's))))))'''", "1//))))))\n"] {
            let error = parsed(format!("({hiding}+").repeat(100)).unwrap_err();
            assert!(error.contains("nested too deeply"), "{hiding}: {error}");
        }
        assert_eq!(parsed(format!("[{}1]", "(')'),".repeat(300))), Ok(()));
    }
}
