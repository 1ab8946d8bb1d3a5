//! `authorizer` in expressions: `authorizer.group(…).resource(…).namespace(…).name(…).check(verb).allowed()`.

use std::any::Any;
use std::sync::Arc;

use signoff_expression::{Error, Function, HostValue, Type, Value};

use crate::rbac::{Attributes, Authorizer};
use crate::users::User;

/// What a check costs, as in Kubernetes: one expression can ask twice.
const CHECK_STEPS: u64 = 350_000;

const AUTHORIZER: Type = Type::Host(Stage::Authorizer.type_name());
const GROUP: Type = Type::Host(Stage::Group.type_name());
const RESOURCE: Type = Type::Host(Stage::Resource.type_name());
const DECISION: Type = Type::Host(Stage::Decision.type_name());

/// How far a question to the authorizer is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Group,
    Resource,
    Decision,
}

impl Stage {
    const fn type_name(self) -> &'static str {
        match self {
            Self::Authorizer => "kubernetes.authorization.Authorizer",
            Self::Group => "kubernetes.authorization.GroupCheck",
            Self::Resource => "kubernetes.authorization.ResourceCheck",
            Self::Decision => "kubernetes.authorization.Decision",
        }
    }
}

/// A question to the authorizer, or its answer.
#[derive(Debug, Clone)]
struct Question {
    stage: Stage,
    authorizer: Arc<Authorizer>,
    user: Arc<User>,
    asked: Attributes,
    is_allowed: bool,
}

impl HostValue for Question {
    fn type_name(&self) -> &'static str {
        self.stage.type_name()
    }

    fn is_equal(&self, other: &dyn HostValue) -> bool {
        other.as_any().downcast_ref::<Self>().is_some_and(|other| {
            (self.stage, &self.asked, self.is_allowed) == (other.stage, &other.asked, other.is_allowed)
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What `authorizer` is in a request of this user.
pub(super) fn value(authorizer: Arc<Authorizer>, user: &User) -> Value<'static> {
    Value::Host(Arc::new(Question {
        stage: Stage::Authorizer,
        authorizer,
        user: Arc::new(user.clone()),
        asked: Attributes::default(),
        is_allowed: false,
    }))
}

/// The methods of `authorizer` and of what they give.
pub(super) fn functions() -> [Function; 6] {
    [
        asking(
            "group",
            &[AUTHORIZER, Type::String],
            Stage::Group,
            |asked, text| asked.group = text,
        ),
        asking(
            "resource",
            &[GROUP, Type::String],
            Stage::Resource,
            |asked, text| asked.resource = text,
        ),
        asking(
            "namespace",
            &[RESOURCE, Type::String],
            Stage::Resource,
            |asked, text| {
                asked.namespace = text;
            },
        ),
        asking(
            "name",
            &[RESOURCE, Type::String],
            Stage::Resource,
            |asked, text| asked.name = text,
        ),
        Function::host("check", &[RESOURCE, Type::String], DECISION, |call, arguments| {
            call.budget.step(CHECK_STEPS)?;
            let (mut question, verb) = question(arguments)?;
            question.asked.verb = verb;
            question.stage = Stage::Decision;
            question.is_allowed = question
                .authorizer
                .authorize(&question.user, &question.asked)
                .allowed;
            Ok(Value::Host(Arc::new(question)))
        })
        .into_method(),
        Function::host(
            "allowed",
            &[DECISION],
            Type::Bool,
            |_, arguments| match arguments {
                [Value::Host(host)] => host
                    .as_any()
                    .downcast_ref::<Question>()
                    .map(|question| Value::Bool(question.is_allowed))
                    .ok_or_else(unfit),
                _ => Err(unfit()),
            },
        )
        .into_method(),
    ]
}

/// A method that adds a text to the question.
fn asking(
    name: &'static str,
    parameters: &'static [Type],
    stage: Stage,
    set: fn(&mut Attributes, String),
) -> Function {
    let made = Type::Host(stage.type_name());
    Function::host(name, parameters, made, move |_, arguments| {
        let (mut question, text) = question(arguments)?;
        set(&mut question.asked, text);
        question.stage = stage;
        Ok(Value::Host(Arc::new(question)))
    })
    .into_method()
}

fn question(arguments: &[Value<'_>]) -> Result<(Question, String), Error> {
    let [Value::Host(host), Value::String(text)] = arguments else {
        return Err(unfit());
    };
    let question = host.as_any().downcast_ref::<Question>().ok_or_else(unfit)?;
    Ok((question.clone(), text.to_string()))
}

fn unfit() -> Error {
    Error::NoSuchOverload("not a question to the authorizer".to_owned())
}
