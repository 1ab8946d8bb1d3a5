//! Whoever writes an expression can at worst have it fail: it ends, within its budget and any stack.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use signoff_expression::{Budget, Error, Library, Limits, Program, Resource, Scope};

/// Stack as small as threads have it.
const THREAD: usize = 256 << 10;

fn run(source: &str, inputs: &Json, budget: &mut Budget) -> Result<Json, String> {
    let program = Program::parse(source, &Library::kubernetes()).map_err(|error| error.message)?;
    let mut scope = Scope::default();
    scope.set("inputs", inputs);
    let value = program.evaluate(&scope, budget);
    let json = value.and_then(|value| value.to_json(budget));
    json.map_err(|error| error.to_string())
}

fn exceeded(source: &str, inputs: &Json) -> Resource {
    let mut budget = Budget::default();
    let program = Program::parse(source, &Library::kubernetes()).unwrap();
    let mut scope = Scope::default();
    scope.set("inputs", inputs);
    let value = program.evaluate(&scope, &mut budget);
    match value.and_then(|value| value.to_json(&mut budget)) {
        Err(Error::BudgetExceeded(resource)) => resource,
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn an_expression_that_multiplies_a_list_with_itself_ends() {
    let inputs = json!({"l": (0..3_000).collect::<Vec<_>>()});
    for source in [
        "size(inputs.l.map(x, inputs.l.map(y, x + y)))",
        "inputs.l.exists(x, inputs.l.exists(y, x + y < 0))",
        "inputs.l.all(x, inputs.l.all(y, x + y >= 0))",
        "inputs.l.filter(x, !(-1 in inputs.l))",
        "inputs.l.map(x, inputs.l == inputs.l)",
        "inputs.l.map(x, inputs.l + inputs.l)",
        "inputs.l.map(x, inputs.l.sum())",
        "inputs.l.map(x, inputs.l.map(y, -y).sort())",
        "inputs.l.map(x, lists.range(100000))",
        "inputs.l.map(x, sets.contains(inputs.l, inputs.l))",
        "inputs.l.distinct().distinct().map(x, 1 in inputs.l.reverse())",
        "inputs.l.transformMap(i, x, inputs.l.transformMap(j, y, x))",
    ] {
        exceeded(source, &inputs);
    }
}

#[test]
fn an_expression_that_multiplies_text_takes_no_more_memory_than_it_may() {
    let inputs = json!({"l": (0..3_000).collect::<Vec<_>>(), "s": "x".repeat(100_000)});
    for source in [
        "inputs.l.map(x, inputs.s + inputs.s + inputs.s + inputs.s)",
        "inputs.l.map(x, inputs.s)",
        "inputs.l.map(x, inputs.s.replace('x', 'xxxx'))",
        "inputs.s.replace('', inputs.s)",
        "inputs.l.map(x, [inputs.s, inputs.s].join(inputs.s))",
        "inputs.l.map(x, inputs.s.split(''))",
        "inputs.l.map(x, bytes(inputs.s))",
        "inputs.l.map(x, '%s%s%s'.format([inputs.s, inputs.s, inputs.s]))",
        "inputs.l.map(x, '%x'.format([inputs.s]))",
        "inputs.l.map(x, inputs.s.upperAscii())",
        "inputs.l.map(x, strings.quote(inputs.s))",
        "inputs.l.map(x, inputs.s.findAll('x'))",
        "inputs.l.map(x, '%s'.format([inputs.l.map(y, inputs.s)]))",
    ] {
        exceeded(source, &inputs);
    }
}

#[test]
fn what_takes_long_without_making_anything_ends_too() {
    let inputs = json!({"l": (0..3_000).collect::<Vec<_>>(), "s": "x".repeat(100_000)});
    for source in [
        "inputs.l.map(x, inputs.s == 'x' + inputs.s)  + inputs.l.map(x, inputs.s + '' == inputs.s)",
        "inputs.l.all(x, inputs.s.matches('(x+x+)+y') == false)",
        "inputs.l.all(x, inputs.s.contains('y') == false)",
        "inputs.l.all(x, size(inputs.s) > 0)",
        "inputs.l.all(x, inputs.s.indexOf('xxxxxxxxxxxxxxxxxxxxy') < 0)",
        "inputs.l.all(x, 'a'.matches('(a{500}|b{' + string(x) + '}){2}') == false)",
        "inputs.s.matches('(((x{100}){100}){100})')",
    ] {
        if source.starts_with("inputs.s.matches") {
            assert!(run(source, &inputs, &mut Budget::default()).is_err());
        } else if source.contains("==  'x'") || source.contains("size(") || source.contains("contains") {
            exceeded(source, &inputs);
        } else {
            let mut budget = Budget::default();
            let _ = run(source, &inputs, &mut budget);
            assert!(budget.used().steps <= Limits::default().steps);
        }
    }
}

#[test]
fn what_is_shared_is_not_copied() {
    let inputs = json!({"s": "x".repeat(1 << 20), "l": vec!["y".repeat(1_000); 10_000]});
    for source in [
        "inputs.s == inputs.s && size(inputs.l) > 0",
        "inputs.l[5] + 'x'",
        "size(inputs.l.slice(1, 9000))",
        "[inputs.s, inputs.s, inputs.s].size()",
        "inputs.s.substring(10, 20)",
    ] {
        let mut budget = Budget::default();
        run(source, &inputs, &mut budget).unwrap();
        assert!(budget.used().bytes < 10_000, "{source}: {:?}", budget.used());
    }
}

#[test]
fn a_budget_that_is_used_up_is_not_absorbed() {
    let inputs = json!({"l": (0..3_000).collect::<Vec<_>>()});
    for source in [
        "true || inputs.l.all(x, inputs.l.all(y, true))",
        "inputs.l.all(x, inputs.l.all(y, true)) || true",
        "inputs.l.exists(x, inputs.l.all(y, true)) || true",
    ] {
        let mut budget = Budget::new(Limits {
            steps: 1_000,
            bytes: 1_000,
        });
        let result = run(source, &inputs, &mut budget);
        if source.starts_with("true") {
            assert_eq!(result, Ok(json!(true)));
        } else {
            assert!(result.unwrap_err().contains("too costly"), "{source}");
        }
    }
}

#[test]
fn nesting_ends_with_an_error_and_not_with_the_stack_or_the_day() {
    let thread = std::thread::Builder::new().stack_size(THREAD).spawn(|| {
        let library = Library::kubernetes();
        let nested = |open: &str, middle: &str, close: &str, times: usize| {
            let source = format!("{}{middle}{}", open.repeat(times), close.repeat(times));
            Program::parse(&source, &library).map(|program| {
                let _ = program.evaluate(&Scope::default(), &mut Budget::default());
            })
        };
        assert!(nested("!!(", "true", ")", 24).is_ok());
        for (open, middle, close) in [
            ("!!(", "true", ")"),
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("size(", "[1]", ")"),
            ("(", "1", ""),
            ("[", "", ""),
            ("1+", "1", ""),
            ("a.", "a", ""),
            ("", "a", "[0]"),
            ("", "a", ".size()"),
            ("!(", "true", ")"),
            ("-(", "1", ")"),
            ("-", "1", ""),
            ("!", "true", ""),
            ("true ? ", "1", " : 2"),
            ("true ? 1 : ", "1", ""),
            ("[1].map(x, ", "1", ")"),
            ("a[", "1", "]"),
            ("a{b:", "1", "}"),
            ("'", "", ""),
            ("{", "", ""),
            ("?", "", ""),
            (".", "", ""),
            ("has(a.", "a", ")"),
        ] {
            for times in [24, 200, 2_000] {
                let _ = nested(open, middle, close, times);
            }
            // what only groups or cancels itself out is no deeper for being written more often
            let is_flat = ["(", "!", "-"].contains(&open) && !middle.is_empty();
            assert!(nested(open, middle, close, 4_000).is_err() || is_flat, "{open}");
        }
    });
    thread.unwrap().join().unwrap();
}

/// Expressions of everything there is, most of which make sense.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("inputs.l".to_owned()),
        Just("inputs.s".to_owned()),
        Just("inputs.o".to_owned()),
        Just("inputs.n".to_owned()),
        Just("inputs.none".to_owned()),
        Just("x".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{'a': 1}".to_owned()),
        Just("b'\\xff'".to_owned()),
        Just("timestamp(0)".to_owned()),
        Just("duration('1h')".to_owned()),
        Just("optional.none()".to_owned()),
        Just("quantity('1.5Gi')".to_owned()),
        any::<i64>().prop_map(|int| format!("({int})")),
        any::<f64>().prop_map(|double| format!("double('{double}')")),
        "[a-zé%.*+(]{0,8}".prop_map(|text| format!("'{text}'")),
    ];
    leaf.prop_recursive(6, 64, 4, |inner| {
        let names: Vec<(String, bool, usize)> = Library::kubernetes()
            .functions()
            .map(|function| {
                (
                    function.name.to_string(),
                    function.is_method,
                    function.parameters.len(),
                )
            })
            .collect();
        let macros = [
            "all",
            "exists",
            "map",
            "filter",
            "exists_one",
            "sortBy",
            "optMap",
            "optFlatMap",
        ];
        let operators = [
            "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||",
        ];
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(operators.to_vec()),
                inner.clone()
            )
                .prop_map(|(left, operator, right)| format!("({left} {operator} {right})")),
            (
                inner.clone(),
                prop::sample::select(macros.to_vec()),
                inner.clone()
            )
                .prop_map(|(range, name, body)| format!("{range}.{name}(x, {body})")),
            (inner.clone(), inner.clone())
                .prop_map(|(range, body)| format!("{range}.transformMap(x, y, {body})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("[{left}, {right}, ?{left}]")),
            (inner.clone(), inner.clone()).prop_map(|(key, value)| format!("{{{key}: {value}}}")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("{left}[{right}]")),
            inner.clone().prop_map(|operand| format!("{operand}.?a.b")),
            inner.clone().prop_map(|operand| format!("!{operand}")),
            inner.clone().prop_map(|operand| format!("-{operand}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            (prop::sample::select(names), prop::collection::vec(inner, 4)).prop_map(
                |((name, is_method, count), arguments)| {
                    let (target, rest) = arguments.split_at(1);
                    if is_method {
                        format!("{}.{name}({})", target[0], rest[..count - 1].join(", "))
                    } else {
                        format!("{name}({})", arguments[..count].join(", "))
                    }
                }
            ),
        ]
    })
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_ends_within_its_budget(source in expression(), l in any_json(), o in any_json(), n in any::<i64>()) {
        let inputs = json!({"l": l, "o": o, "n": n, "s": "naïve text"});
        let limits = Limits { steps: 20_000, bytes: 4 << 20 };
        let mut budget = Budget::new(limits);
        let first = run(&source, &inputs, &mut budget);
        prop_assert!(budget.used().steps <= limits.steps && budget.used().bytes <= limits.bytes);
        // and always gives the same
        prop_assert_eq!(first, run(&source, &inputs, &mut Budget::new(limits)));
    }

    #[test]
    fn any_text_is_parsed_or_refused(source in "[-a-z0-9 .?!(){}\\[\\]'\"+*/,:<>=&|\\\\]{0,80}") {
        let _ = run(&source, &Json::Null, &mut Budget::default());
    }

    #[test]
    fn any_pattern_is_matched_or_refused(pattern in "[a-z0-9()\\[\\]{}|*+?^$.\\\\:<>=!,&~-]{0,24}", text in ".{0,24}") {
        let inputs = json!({"p": pattern, "t": text});
        let _ = run("inputs.t.matches(inputs.p) || inputs.t.findAll(inputs.p).size() > 0", &inputs, &mut Budget::default());
    }
}
