//! What a host adds: values with methods of their own, messages, and variables that are evaluated when they are read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value as Json, json};
use signoff_expression::{
    Budget, Error, Function, HostValue, Library, Limits, Message, Program, Scope, Type, Value,
};

/// A lamp, of which an expression sees nothing but its methods.
#[derive(Debug)]
struct Lamp {
    color: String,
}

const LAMP: Type = Type::Host("test.Lamp");

impl HostValue for Lamp {
    fn type_name(&self) -> &'static str {
        "test.Lamp"
    }

    fn is_equal(&self, other: &dyn HostValue) -> bool {
        other
            .as_any()
            .downcast_ref::<Self>()
            .is_some_and(|other| other.color == self.color)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn lamp(color: &str) -> Value<'static> {
    let color = color.to_owned();
    Value::Host(Arc::new(Lamp { color }))
}

/// `lamp.color(text)` gives another lamp, `lamp.shines()` takes many steps; each call is counted.
fn library(calls: &Arc<AtomicUsize>) -> Library {
    let calls = Arc::clone(calls);
    let color = Function::host(
        "color",
        &[LAMP, Type::String],
        LAMP,
        |_, arguments| match arguments {
            [_, Value::String(color)] => Ok(lamp(color)),
            _ => Err(Error::Failed("not a color".to_owned())),
        },
    );
    let shines = Function::host("shines", &[LAMP], Type::Bool, move |call, arguments| {
        calls.fetch_add(1, Ordering::SeqCst);
        call.budget.step(100)?;
        match arguments {
            [Value::Host(lamp)] => {
                let lamp = lamp.as_any().downcast_ref::<Lamp>();
                Ok(Value::Bool(lamp.is_some_and(|lamp| lamp.color == "red")))
            }
            _ => Err(Error::Failed("not a lamp".to_owned())),
        }
    });
    let message = Message {
        name: "Signal",
        fields: &["color", "times"],
    };
    Library::kubernetes()
        .with([color.into_method(), shines.into_method()])
        .with_messages([message])
}

fn parse(source: &str) -> Program {
    Program::parse(source, &library(&Arc::default())).unwrap()
}

fn value(source: &str) -> Result<Json, String> {
    let program = Program::parse(source, &library(&Arc::default())).map_err(|error| error.message)?;
    let mut scope = Scope::default();
    scope.set("lamp", lamp("green"));
    let mut budget = Budget::default();
    let value = program.evaluate(&scope, &mut budget);
    value
        .and_then(|value| value.to_json(&mut budget))
        .map_err(|error| error.to_string())
}

#[test]
fn the_methods_of_a_hosts_value_make_further_ones() {
    assert_eq!(value("lamp.shines()"), Ok(json!(false)));
    assert_eq!(value("lamp.color('blue').color('red').shines()"), Ok(json!(true)));
    assert_eq!(value("lamp.color('green') == lamp"), Ok(json!(true)));
    assert_eq!(value("lamp.color('red') == lamp"), Ok(json!(false)));
}

#[test]
fn a_hosts_value_is_nothing_but_its_methods() {
    assert_eq!(
        value("lamp"),
        Err("the result has no JSON form; it is a test.Lamp".to_owned())
    );
    assert!(value("lamp.size()").unwrap_err().starts_with("no such overload"));
    assert!(value("lamp.wires").unwrap_err().starts_with("no such overload"));
    assert!(
        value("'red'.shines()")
            .unwrap_err()
            .starts_with("no such overload")
    );
    assert_eq!(
        value("lamp.breaks()"),
        Err("there is no method breaks".to_owned())
    );
}

#[test]
fn a_message_is_the_map_of_its_fields() {
    assert_eq!(
        value("[Signal{color: 'red', times: 1 + 1}, Signal{?color: optional.none()}]"),
        Ok(json!([{"color": "red", "times": 2}, {}]))
    );
    assert_eq!(
        value("Signal{length: 1}"),
        Err("Signal has no field length".to_owned())
    );
    assert_eq!(
        value("Signals{}"),
        Err("messages cannot be made: Signals".to_owned())
    );
}

#[test]
fn a_defined_variable_is_evaluated_once_and_only_when_it_is_read() {
    let calls = Arc::default();
    let library = library(&calls);
    let parse = |source: &str| Program::parse(source, &library).unwrap();
    let (shines, unread, twice) = (
        parse("lamp.shines()"),
        parse("true || on"),
        parse("on || on ? 1 : 2"),
    );
    let mut scope = Scope::default();
    scope.set("lamp", lamp("green")).define("on", &shines);
    let mut budget = Budget::default();
    assert!(matches!(
        unread.evaluate(&scope, &mut budget),
        Ok(Value::Bool(true))
    ));
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    for _ in 0..2 {
        let shared = scope.clone();
        assert!(matches!(twice.evaluate(&shared, &mut budget), Ok(Value::Int(2))));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[test]
fn a_defined_variable_is_paid_by_whoever_reads_it_first() {
    let shines = parse("lamp.shines()");
    let read = parse("on");
    let mut scope = Scope::default();
    scope.set("lamp", lamp("green")).define("on", &shines);
    let steps = |budget: &mut Budget| {
        let before = budget.used().steps;
        read.evaluate(&scope, budget).unwrap();
        budget.used().steps - before
    };
    let mut budget = Budget::default();
    assert!(steps(&mut budget) > 100);
    assert_eq!(steps(&mut budget), 1);
    let mut little = Budget::new(Limits {
        steps: 50,
        bytes: 1 << 10,
    });
    let mut scope = Scope::default();
    scope.set("lamp", lamp("green")).define("on", &shines);
    let refused = read.evaluate(&scope, &mut little);
    assert!(refused.is_err_and(|error| error.is_budget_exceeded()));
}

#[test]
fn a_defined_variable_reads_what_was_there_before_it_and_nothing_that_is_bound_where_it_is_read() {
    let (itself, of_later, of_bound) = (parse("a"), parse("later"), parse("x"));
    for (source, expected) in [
        ("a", Ok("1")),
        ("of_later", Err("undeclared reference to 'later'")),
        ("[1].map(x, of_bound)", Err("undeclared reference to 'x'")),
        ("[5].map(x, a + x)", Ok("[6]")),
    ] {
        let program = parse(source);
        let mut scope = Scope::default();
        scope
            .set("a", Value::Int(1))
            .define("a", &itself)
            .define("of_later", &of_later)
            .define("of_bound", &of_bound)
            .set("later", Value::Int(2));
        let given = program.evaluate(&scope, &mut Budget::default());
        let given = given
            .map(|value| value.shown())
            .map_err(|error| error.to_string());
        assert_eq!(
            given,
            expected.map(str::to_owned).map_err(str::to_owned),
            "{source}"
        );
    }
}
