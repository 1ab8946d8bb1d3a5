//! The types of expressions, and what is wrong with them before they are evaluated.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use signoff_expression::{
    Declarations, Facts, Field, Implication, Library, ObjectType, Program, StaticType, Type,
};

fn object(fields: &[(&str, Field)], rest: Option<StaticType>) -> StaticType {
    let fields = fields
        .iter()
        .map(|(name, field)| ((*name).to_owned(), field.clone()));
    ObjectType::new(fields.collect(), rest).into()
}

/// `inputs` of a refund, and the results of two steps: `review` has an output only if it was approved, and reads `quote` if so.
fn declarations() -> Declarations {
    let line = object(
        &[
            ("sku", Field::required(StaticType::STRING)),
            ("note", Field::optional(StaticType::STRING)),
        ],
        None,
    );
    let inputs = object(
        &[
            ("order", Field::required(StaticType::STRING)),
            ("amount", Field::required(StaticType::DOUBLE)),
            ("count", Field::required(StaticType::INT)),
            ("rush", Field::required(StaticType::BOOL)),
            ("coupon", Field::optional(StaticType::STRING)),
            (
                "customer",
                Field::optional(object(&[("name", Field::optional(StaticType::STRING))], None)),
            ),
            ("lines", Field::required(StaticType::list(line))),
            ("labels", Field::required(object(&[], Some(StaticType::STRING)))),
            ("currency", Field::required(StaticType::one_of(["EUR", "USD"]))),
            ("any", Field::required(StaticType::Dyn)),
        ],
        None,
    );
    let step = |outcomes: &[&str]| {
        object(
            &[
                (
                    "outcome",
                    Field::required(StaticType::one_of(outcomes.iter().copied())),
                ),
                ("output", Field::optional(StaticType::INT)),
            ],
            None,
        )
    };
    let steps = object(
        &[
            (
                "review",
                Field::required(step(&["Approved", "Rejected", "Skipped"])),
            ),
            ("quote", Field::required(step(&["Succeeded", "Skipped"]))),
            ("open-pr", Field::required(step(&["Succeeded", "Skipped"]))),
        ],
        None,
    );
    let path = |step: &str, field: &str| vec!["steps".to_owned(), step.to_owned(), field.to_owned()];
    let values =
        |values: &[&str]| -> BTreeSet<String> { values.iter().map(|value| (*value).to_owned()).collect() };
    let implications = vec![
        Implication {
            of: path("review", "outcome"),
            values: values(&["Approved"]),
            then: Facts {
                present: BTreeSet::from([path("review", "output")]),
                among: BTreeMap::new(),
            },
        },
        Implication {
            of: path("review", "outcome"),
            values: values(&["Approved", "Rejected"]),
            then: Facts {
                present: BTreeSet::new(),
                among: BTreeMap::from([(path("quote", "outcome"), values(&["Succeeded"]))]),
            },
        },
        Implication {
            of: path("quote", "outcome"),
            values: values(&["Succeeded"]),
            then: Facts {
                present: BTreeSet::from([path("quote", "output")]),
                among: BTreeMap::new(),
            },
        },
    ];
    Declarations {
        variables: BTreeMap::from([("inputs".to_owned(), inputs), ("steps".to_owned(), steps)]),
        facts: Facts::default(),
        implications: implications.into_iter().map(Arc::new).collect(),
    }
}

fn checked(source: &str) -> Result<StaticType, Vec<(usize, String)>> {
    let program =
        Program::parse(source, &Library::kubernetes()).unwrap_or_else(|error| panic!("{source}: {error}"));
    program.check(&declarations()).map_err(|errors| {
        let errors = errors.into_iter();
        errors.map(|error| (error.offset, error.message)).collect()
    })
}

fn messages(source: &str) -> Vec<String> {
    let errors = checked(source).err().unwrap_or_default();
    errors.into_iter().map(|(_, message)| message).collect()
}

#[test]
fn an_expression_has_the_type_that_its_parts_give_it() {
    for (source, type_) in [
        ("1 + 2", "int"),
        ("inputs.amount * 100.0", "double"),
        ("inputs.count > 1 && inputs.rush", "bool"),
        ("inputs.amount > 100", "bool"),
        ("inputs.order + '-' + string(inputs.count)", "string"),
        ("[1, 2].map(x, string(x))", "list(string)"),
        ("[1, 2].filter(x, x > 1)", "list(int)"),
        ("{'a': 1}.map(k, k)", "list(string)"),
        ("{'a': 1}.transformList(k, v, v)", "list(int)"),
        ("[1.5].transformMap(i, v, v > 1.0)", "map(int, bool)"),
        ("{'a': 1}.transformMapEntry(k, v, {v: k})", "map(int, string)"),
        ("inputs.lines.map(l, l.sku)", "list(string)"),
        ("inputs.lines[0].sku", "string"),
        ("inputs.lines.sortBy(l, l.sku)[0].sku", "string"),
        ("[3, 1].sort().max()", "int"),
        ("[[1], [2]].flatten()", "list(int)"),
        ("'a,b'.split(',')[0]", "string"),
        ("[]", "list(dyn)"),
        ("[[], [1]]", "list(list(int))"),
        ("true ? [] : [1]", "list(int)"),
        ("inputs.any.whatever[0] + 1", "int"),
        ("inputs.any", "dyn"),
        ("dyn(1)", "dyn"),
        ("inputs.?coupon", "optional(string)"),
        ("inputs.?coupon.orValue('none')", "string"),
        ("inputs.?customer.?name", "optional(string)"),
        ("inputs.?customer.name.orValue('nobody')", "string"),
        ("inputs.labels[?'team']", "optional(string)"),
        ("inputs.labels[inputs.order]", "string"),
        ("inputs.labels.exists(k, k == 'team')", "bool"),
        ("size(inputs.labels) + size(inputs.lines)", "int"),
        ("optional.of(1).optMap(x, x + 1)", "optional(int)"),
        (
            "optional.of(1).optFlatMap(x, optional.of(string(x)))",
            "optional(string)",
        ),
        ("optional.none().orValue(1)", "int"),
        ("duration('1h') + duration('30m')", "duration"),
        ("timestamp('2024-01-01T00:00:00Z') - duration('1h')", "timestamp"),
        (
            "timestamp('2024-01-01T00:00:00Z') - timestamp('2023-01-01T00:00:00Z')",
            "duration",
        ),
        ("quantity('1Gi').add(1).asInteger()", "int"),
        ("url('https://a/?b=c').getQuery()['b'][0]", "string"),
        ("format.dns1123Label().validate('a').hasValue()", "bool"),
        ("cidr('10.0.0.0/8').containsIP(ip('10.1.1.1'))", "bool"),
        ("semver('1.2.3').major()", "int"),
        ("type(1) == int", "bool"),
        ("'%s of %d'.format(['a', 1])", "string"),
        ("[dyn(1), dyn('a')]", "list(dyn)"),
        ("null", "null"),
    ] {
        assert_eq!(
            checked(source).map(|type_| type_.to_string()),
            Ok(type_.to_owned()),
            "{source}"
        );
    }
}

#[test]
fn whatever_is_wrong_is_told_with_what_to_write() {
    for (source, expected) in [
        (
            "input.order",
            vec!["there is no variable input; did you mean 'inputs'?"],
        ),
        (
            "outputs_of_all",
            vec!["there is no variable outputs_of_all; there are inputs, steps"],
        ),
        (
            "inputs.amout",
            vec!["there is no field amout; did you mean 'amount'?"],
        ),
        ("inputs.price", vec!["there is no field price"]),
        ("inputs.order.length", vec!["string has no fields, so no length"]),
        (
            "inputs.lines[0].skuu",
            vec!["there is no field skuu; did you mean 'sku'?"],
        ),
        (
            "inputs.amount * 100",
            vec![
                "* does not take double and int; write a whole number with .0, such as 100.0, or convert with double(…)",
            ],
        ),
        (
            "inputs.amount == 100",
            vec![
                "double and int are never equal; write a whole number with .0, such as 100.0, or convert with double(…)",
            ],
        ),
        (
            "inputs.amount % 2.0",
            vec!["% does not take double and double; % is for integers"],
        ),
        (
            "'n: ' + inputs.count",
            vec!["+ does not take string and int; string(…) makes text of a value"],
        ),
        ("inputs.order == 1", vec!["string and int are never equal"]),
        ("inputs.order < 1", vec!["< does not take string and int"]),
        ("inputs.rush + inputs.rush", vec!["+ does not take bool and bool"]),
        ("-inputs.order", vec!["- negates a number, not string"]),
        (
            "!inputs.order",
            vec!["! negates a condition, which is true or false, not string"],
        ),
        (
            "inputs.order && inputs.count",
            vec![
                "&& joins conditions, which is true or false, not string",
                "&& joins conditions, which is true or false, not int",
            ],
        ),
        (
            "inputs.count ? 1 : 2",
            vec!["?: needs a condition, which is true or false, not int"],
        ),
        (
            "inputs.rush ? 1 : 'a'",
            vec!["both results of ?: have one type, not int and string; dyn(…) allows both"],
        ),
        (
            "[1, 'a']",
            vec![
                "the values of a list or map have one type, not int and string; dyn(…) around each allows both",
            ],
        ),
        (
            "{'a': 1, 'b': true}",
            vec![
                "the values of a list or map have one type, not int and bool; dyn(…) around each allows both",
            ],
        ),
        (
            "1 in 2",
            vec!["in looks for a value in a list or a key in a map, not for int in int"],
        ),
        ("inputs.lines['a']", vec!["list(object) has no element at string"]),
        (
            "inputs.labels[1]",
            vec!["the keys of an object are strings, not int"],
        ),
        (
            "inputs.count.startsWith('1')",
            vec!["int has no method startsWith(string)"],
        ),
        ("size(inputs.count)", vec!["size does not take (int)"]),
        ("['a'].sum()", vec!["list(string) has no method sum()"]),
        (
            "inputs.count.map(x, x)",
            vec!["int has no elements; a list or a map has"],
        ),
        (
            "inputs.lines.all(l, l.sku)",
            vec!["the last argument is a condition, which is true or false, not string"],
        ),
        (
            "inputs.order.orValue('')",
            vec!["string has no method orValue(string)"],
        ),
        ("duration('1d')", vec!["invalid duration"]),
        ("inputs.order.matches('(')", vec!["error parsing regexp"]),
        ("int('x')", vec![""]),
        (
            "inputs.amout + inputs.count.x",
            vec![
                "there is no field amout; did you mean 'amount'?",
                "int has no fields, so no x",
            ],
        ),
    ] {
        let told = messages(source);
        assert_eq!(told.len(), expected.len(), "{source}: {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            let is_as_expected = match expected {
                // what a library says of a constant
                "" | "invalid duration" | "error parsing regexp" => true,
                expected => told == expected,
            };
            assert!(is_as_expected, "{source}: {told}");
        }
    }
}

#[test]
fn an_error_says_where_it_is() {
    for (source, offset) in [
        ("inputs.order", None),
        ("outputs", Some(0)),
        ("1 + outputs", Some(4)),
        ("inputs.rush && inputs.order", Some(21)),
        ("'naïve' + outputs", Some(11)),
        ("[1,\n 'a']", Some(5)),
    ] {
        let found = checked(source)
            .err()
            .and_then(|errors| errors.first().map(|(offset, _)| *offset));
        assert_eq!(found, offset, "{source}: {:?}", checked(source));
    }
}

#[test]
fn a_field_that_may_be_absent_is_read_where_a_condition_has_proven_it() {
    for guarded in [
        "has(inputs.coupon) && inputs.coupon == 'x'",
        "has(inputs.coupon) ? inputs.coupon : ''",
        "!has(inputs.coupon) || inputs.coupon == 'x'",
        "!has(inputs.coupon) ? '' : inputs.coupon",
        "!(!has(inputs.coupon)) && inputs.coupon == 'x'",
        "has(inputs.customer) && has(inputs.customer.name) && inputs.customer.name == 'ann'",
        "inputs.?coupon.hasValue() && inputs.coupon == 'x'",
        "has(inputs.labels.team) && inputs.labels['team'] == 'x'",
        "(has(inputs.coupon) && inputs.rush || has(inputs.coupon)) && inputs.coupon == 'x'",
        "inputs.lines.filter(l, has(l.note) && l.note == 'x') == []",
        "inputs.lines.map(l, has(l.note), l.note) == []",
        "inputs.lines.map(l, l.?note.orValue('')) == []",
        "has(inputs.coupon) && [1].all(x, inputs.coupon == 'x')",
        "steps.review.outcome == 'Approved' && steps.review.output > 1",
        "steps['review'].outcome == 'Approved' && steps.review['output'] > 1",
        "steps.review.outcome in ['Approved'] ? steps.review.output > 1 : false",
        "!(steps.review.outcome in ['Rejected', 'Skipped']) && steps.review.output > 1",
        "steps.review.outcome != 'Rejected' && steps.review.outcome != 'Skipped' && steps.review.output > 1",
        "'Approved' == steps.review.outcome && steps.quote.output > 1",
        "steps.review.outcome != 'Skipped' && steps.quote.output > 1",
        "steps['open-pr'].outcome == 'Succeeded' && has(steps['open-pr'].output) && steps['open-pr'].output > 1",
    ] {
        assert_eq!(messages(guarded), [""; 0], "{guarded}");
    }
    for unguarded in [
        "inputs.coupon == 'x'",
        "inputs.coupon == 'x' && has(inputs.coupon)",
        "has(inputs.coupon) || inputs.coupon == 'x'",
        "!has(inputs.coupon) && inputs.coupon == 'x'",
        "has(inputs.coupon) ? '' : inputs.coupon",
        "has(inputs.customer.name)",
        "has(inputs.customer) && inputs.customer.name == 'ann'",
        "inputs.labels.team == 'x'",
        "has(inputs.labels.team) && inputs.labels.owner == 'x'",
        "inputs.lines.filter(l, has(l.note)).map(l, l.note) == []",
        "inputs.lines.all(l, has(l.note)) && inputs.lines[0].note == 'x'",
        "steps.review.output > 1",
        "steps.review.outcome == 'Rejected' && steps.review.output > 1",
        "steps.review.outcome in ['Approved', 'Rejected'] && steps.review.output > 1",
        "steps.review.outcome != 'Rejected' && steps.review.output > 1",
        "(steps.review.outcome == 'Approved' || inputs.rush) && steps.review.output > 1",
        "steps.quote.outcome == 'Skipped' && steps.quote.output > 1",
    ] {
        let told = messages(unguarded);
        assert_eq!(told.len(), 1, "{unguarded}: {told:?}");
        assert!(told[0].contains("may be absent"), "{unguarded}: {told:?}");
    }
    assert_eq!(
        messages("steps['open-pr'].output > 1"),
        [
            "output may be absent: write steps['open-pr'].?output.orValue(…), or guard it with has(steps['open-pr'].output)"
        ]
    );
}

/// What is proposed for the first thing that is wrong: the expression, and the condition if there is one.
fn proposed(source: &str) -> (String, Option<String>) {
    let told = messages(source).remove(0);
    let (_, told) = told
        .split_once("write ")
        .unwrap_or_else(|| panic!("{source}: {told}"));
    match told.split_once(", or guard it with ") {
        Some((write, guard)) => (write.to_owned(), Some(guard.to_owned())),
        None => (told.to_owned(), None),
    }
}

#[test]
fn what_is_proposed_for_a_field_that_may_be_absent_compiles() {
    for (source, write) in [
        ("inputs.coupon == 'x'", "inputs.?coupon.orValue(…)"),
        ("inputs['coupon'] == 'x'", "inputs[?'coupon'].orValue(…)"),
        (
            "inputs.customer.name == 'ann'",
            "inputs.?customer.name.orValue(…)",
        ),
        (
            "inputs.customer['name'] == 'ann'",
            "inputs.?customer['name'].orValue(…)",
        ),
        (
            "size(inputs.customer.name) > 1",
            "inputs.?customer.name.orValue(…)",
        ),
        ("inputs.labels['a-b'] == 'x'", "inputs.labels[?'a-b'].orValue(…)"),
        ("inputs.lines[0].note == 'x'", "inputs.lines[0].?note.orValue(…)"),
        (
            "steps['open-pr'].output > 1",
            "steps['open-pr'].?output.orValue(…)",
        ),
        (
            "inputs.rush && steps.review.output > 1",
            "steps.review.?output.orValue(…)",
        ),
    ] {
        let (proposed, guard) = proposed(source);
        assert_eq!(proposed, write, "{source}");
        let plain = write.replace(".orValue(…)", "").replace('?', "");
        let written = source.replace(&plain, &write.replace('…', "dyn('')"));
        assert_ne!(written, source);
        assert_eq!(messages(&written), Vec::<String>::new(), "{written}");
        if let Some(guard) = guard {
            let guarded = format!("{guard} && ({source})");
            assert_eq!(messages(&guarded), Vec::<String>::new(), "{guarded}");
        }
    }
    let (_, guard) = proposed("inputs.customer.name == 'ann'");
    assert_eq!(
        guard.as_deref(),
        Some("has(inputs.customer) && has(inputs.customer.name)")
    );
}

#[test]
fn a_string_with_known_values_is_compared_with_those() {
    for (source, expected) in [
        ("steps.review.outcome == 'Approved'", None),
        (
            "steps.review.outcome == 'Aproved'",
            Some("it is never 'Aproved', but 'Approved', 'Rejected' or 'Skipped'; did you mean 'Approved'?"),
        ),
        (
            "'TimedOut' != steps.review.outcome",
            Some("it is never 'TimedOut', but 'Approved', 'Rejected' or 'Skipped'"),
        ),
        (
            "steps.review.outcome in ['Approved', 'reject']",
            Some("it is never 'reject', but 'Approved', 'Rejected' or 'Skipped'; did you mean 'Rejected'?"),
        ),
        (
            "inputs.currency == 'GBP'",
            Some("it is never 'GBP', but 'EUR' or 'USD'"),
        ),
        (
            "inputs.currency == steps.review.outcome",
            Some(
                "these are never equal: one is 'EUR' or 'USD', the other 'Approved', 'Rejected' or 'Skipped'",
            ),
        ),
        ("steps.quote.outcome == steps.review.outcome", None),
        ("inputs.currency == inputs.order", None),
        (
            "[inputs.currency, inputs.order, 'GBP'].exists(c, c == 'CHF')",
            None,
        ),
        ("inputs.currency + 'x' == 'GBPx'", None),
    ] {
        let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(messages(source), expected, "{source}");
    }
}

#[test]
fn a_condition_proves_what_holds_after_it() {
    let program = Program::parse(
        "steps.review.outcome == 'Approved' && has(inputs.coupon)",
        &Library::kubernetes(),
    );
    let declarations = declarations();
    let facts = program.unwrap().proves(&declarations);
    let facts = facts.closed(&declarations.implications);
    let present: Vec<String> = facts.present.iter().map(|path| path.join(".")).collect();
    assert_eq!(
        present,
        [
            "inputs.coupon",
            "steps.quote.output",
            "steps.review.outcome",
            "steps.review.output"
        ]
    );
}

#[test]
fn a_misspelt_function_is_told_with_the_one_that_was_meant() {
    for (source, expected) in [
        (
            "inputs.order.startswith('a')",
            "there is no method startswith; did you mean 'startsWith'?",
        ),
        (
            "siez(inputs.order)",
            "there is no function siez; did you mean 'size'?",
        ),
        ("inputs.order.frobnicate()", "there is no method frobnicate"),
        (
            "'a'.contains()",
            "method contains does not take that many arguments",
        ),
    ] {
        let error = Program::parse(source, &Library::kubernetes()).unwrap_err();
        assert_eq!(error.message, expected);
    }
}

#[test]
fn types_do_not_grow_without_end() {
    // each name is bound to a map of the one before it, twice
    let mut growing = "1".to_owned();
    for i in 0..40 {
        growing = format!("optional.of({growing}).optMap(v{i}, {{v{i}: v{i}}}).value()");
    }
    // each list of nothing known refers to the one before it, twice
    let mut unknown = "true".to_owned();
    for i in 0..40 {
        unknown = format!("[].all(u{i}, {unknown} && u{i} == [])");
    }
    for source in [growing, unknown] {
        if let Ok(program) = Program::parse(&source, &Library::kubernetes()) {
            let _ = program.check(&declarations());
        }
    }
    let host = StaticType::from(Type::Host("test.Lamp"));
    assert_eq!(host.to_string(), "test.Lamp");
}
