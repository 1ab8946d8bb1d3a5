//! Durations, quorums and names that a definition gives or computes: how they are checked, and what they come to.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use signoff_expression::{Budget, StaticType, Type};

use super::Place;
use crate::expression::{Expression, JsonTemplate, Scope, Template, type_name};
use signoff_api::{
    HumanDuration, OrExpression, Quorum,
    reason::StepReason,
    step::{Approvers, ApproversTemplate},
    text::is_hidden,
};

/// Most names in one list, as the schema of an Approval says.
const MAX_NAMES: usize = 100;
/// Longest name, in characters.
const MAX_NAME: usize = 256;
/// What names of the API server's own users and groups begin with.
const SYSTEM: &str = "system:";

/// Why a computed value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) reason: StepReason,
    pub(crate) message: String,
}

impl Unusable {
    fn new(reason: StepReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// The least that a duration may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AtLeast {
    /// As it is written down.
    pub(crate) literal: Duration,
    /// Where an expression gives it.
    pub(crate) computed: Duration,
}

impl AtLeast {
    /// Any duration.
    pub(crate) const ANY: Self = Self::both(Duration::ZERO);

    pub(crate) const fn both(least: Duration) -> Self {
        Self {
            literal: least,
            computed: least,
        }
    }
}

/// A duration that is written down or computed.
#[derive(Clone, Debug)]
pub(crate) struct DurationPlan {
    field: &'static str,
    value: OrComputed<HumanDuration>,
    least: AtLeast,
}

#[derive(Clone, Debug)]
enum OrComputed<T> {
    Literal(T),
    Computed(Expression),
}

impl DurationPlan {
    /// Parses it at a field of a place.
    pub(crate) fn compile(
        place: &mut Place<'_, '_>,
        field: &'static str,
        at: &str,
        duration: &OrExpression<HumanDuration>,
        least: AtLeast,
    ) -> Option<Self> {
        let value = match duration {
            OrExpression::Literal(literal) => {
                if literal.duration() < least.literal {
                    place.problem(at, too_short(literal.as_str(), least.literal));
                }
                OrComputed::Literal(literal.clone())
            }
            OrExpression::Expression(text) => {
                let is_duration = |type_: &StaticType| {
                    is_text(type_) || matches!(type_, StaticType::Scalar(Type::Duration))
                };
                OrComputed::Computed(computed(place, at, text, "a duration", is_duration)?)
            }
        };
        Some(Self { field, value, least })
    }

    /// What it comes to.
    pub(crate) fn value(&self, scope: &Scope) -> Result<HumanDuration, Unusable> {
        let field = self.field;
        let expression = match &self.value {
            OrComputed::Literal(literal) => return Ok(literal.clone()),
            OrComputed::Computed(expression) => expression,
        };
        let value = evaluated(field, expression, scope)?;
        let invalid = |message: String| Unusable::new(StepReason::InvalidTime, format!("{field}: {message}"));
        let Value::String(text) = value else {
            return Err(invalid(format!(
                "${{{}}} gives {}, not a duration",
                expression.source(),
                type_name(&value)
            )));
        };
        let duration: HumanDuration = text.parse().map_err(|error| invalid(format!("{error}")))?;
        if duration.duration() < self.least.computed {
            return Err(invalid(too_short(&text, self.least.computed)));
        }
        Ok(duration)
    }
}

fn too_short(text: &str, least: Duration) -> String {
    let least = match least.as_secs() {
        seconds if seconds >= 60 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    };
    format!("{text:?} is shorter than {least}")
}

/// A quorum that is written down or computed.
#[derive(Clone, Debug)]
pub(crate) struct QuorumPlan(OrComputed<Quorum>);

impl Default for QuorumPlan {
    fn default() -> Self {
        Self(OrComputed::Literal(Quorum::ONE))
    }
}

impl QuorumPlan {
    pub(crate) fn compile(place: &mut Place<'_, '_>, quorum: Option<&OrExpression<Quorum>>) -> Option<Self> {
        Some(Self(match quorum {
            None => return Some(Self::default()),
            Some(OrExpression::Literal(literal)) => OrComputed::Literal(*literal),
            Some(OrExpression::Expression(text)) => {
                let is_integer = |type_: &StaticType| {
                    matches!(
                        type_,
                        StaticType::Dyn | StaticType::Scalar(Type::Int | Type::Uint | Type::Dyn)
                    )
                };
                OrComputed::Computed(computed(place, "quorum", text, "an integer", is_integer)?)
            }
        }))
    }

    /// What it comes to.
    pub(crate) fn value(&self, scope: &Scope) -> Result<Quorum, Unusable> {
        let expression = match &self.0 {
            OrComputed::Literal(literal) => return Ok(*literal),
            OrComputed::Computed(expression) => expression,
        };
        let value = evaluated("quorum", expression, scope)?;
        let invalid =
            |message: String| Unusable::new(StepReason::InvalidQuorum, format!("quorum: {message}"));
        let number = value.as_i64().or_else(|| whole(&value)).ok_or_else(|| {
            let shown = match &value {
                Value::Number(number) => number.to_string(),
                other => type_name(other).to_owned(),
            };
            invalid(format!(
                "${{{}}} gives {shown}, not an integer",
                expression.source()
            ))
        })?;
        Quorum::try_from(number).map_err(|error| invalid(error.to_string()))
    }

    pub(crate) fn is_computed(&self) -> bool {
        matches!(self.0, OrComputed::Computed(_))
    }
}

/// An integer that was read as a fraction, such as 2.0.
fn whole(value: &Value) -> Option<i64> {
    let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
    // far beyond any quorum, and exact below it
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
    (number.abs() < 1e9).then_some(number as i64)
}

/// The people who may decide, as the definition says or data does.
#[derive(Clone, Debug)]
pub(crate) struct ApproversPlan {
    /// Where it stands, for messages.
    at: String,
    template: ApproversTemplate,
    lists: JsonTemplate,
    is_computed: bool,
}

/// The lists that may hold expressions.
const LISTS: [&str; 3] = ["users", "groups", "exclude"];

impl ApproversPlan {
    /// Parses it at a field of a place.
    pub(crate) fn compile(place: &mut Place<'_, '_>, at: &str, template: &ApproversTemplate) -> Option<Self> {
        let ApproversTemplate {
            users,
            groups,
            exclude,
            service_accounts,
        } = template;
        for (i, account) in service_accounts.iter().enumerate() {
            if account.contains("${") {
                let field = format!("{at}.serviceAccounts[{i}]");
                place.problem(&field, "a service account never comes from data");
            }
        }
        let lists = json!({ "users": users, "groups": groups, "exclude": exclude });
        let parsed = place.json(at, &lists, &[])?;
        let mut is_computed = false;
        for list in LISTS {
            for (i, item) in items(&parsed, list).iter().enumerate() {
                let JsonTemplate::Text(text) = item else { continue };
                is_computed |= text.as_literal().is_none();
                name(place, &format!("{at}.{list}[{i}]"), list, text);
            }
        }
        Some(Self {
            at: at.to_owned(),
            template: template.clone(),
            lists: parsed,
            is_computed,
        })
    }

    /// Whether data says who may decide, or who may not.
    pub(crate) fn is_computed(&self) -> bool {
        self.is_computed
    }

    /// What it comes to. All its expressions share one budget.
    pub(crate) fn value(&self, scope: &Scope) -> Result<Approvers, Unusable> {
        let at = &self.at;
        let mut budget = Budget::default();
        let mut names = |list: &str| {
            let items = items(&self.lists, list);
            let given = items.iter().map(|item| item.present_within(scope, &mut budget));
            let given = given.collect::<Result<Vec<_>, _>>();
            let given = given.map_err(|error| Unusable::new(error.reason(), format!("{at}: {error}")))?;
            collected(&format!("{at}.{list}"), list, items, given)
        };
        let approvers = Approvers {
            users: names("users")?,
            groups: names("groups")?,
            exclude: names("exclude")?,
            service_accounts: self.template.service_accounts.clone(),
        };
        if self.is_computed && !self.leaves_somebody(&approvers) {
            let message = format!("{at}: nobody is left who may decide");
            return Err(Unusable::new(StepReason::NoApprovers, message));
        }
        Ok(approvers)
    }

    fn leaves_somebody(&self, approvers: &Approvers) -> bool {
        let ApproversTemplate {
            users,
            groups,
            exclude: _,
            service_accounts,
        } = &self.template;
        let is_everybody_else = users.is_empty() && groups.is_empty() && service_accounts.is_empty();
        is_everybody_else || people(&[approvers]).is_none_or(|people| people > 0)
    }
}

/// How many people some lists name; none if groups, or everybody else, are among them.
pub(crate) fn people(lists: &[&Approvers]) -> Option<usize> {
    if lists
        .iter()
        .any(|list| !list.groups.is_empty() || list.is_everybody_else())
    {
        return None;
    }
    let excluded = |name: &str| lists.first().is_some_and(|first| first.excludes(name));
    let users = lists
        .iter()
        .flat_map(|list| list.users.iter().filter(|name| !list.excludes(name)));
    let users: BTreeSet<&str> = users.map(String::as_str).filter(|name| !excluded(name)).collect();
    let accounts = lists.iter().flat_map(|list| &list.service_accounts);
    let accounts: BTreeSet<&str> = accounts.map(String::as_str).collect();
    Some(users.len() + accounts.len())
}

/// The items of one of the lists.
fn items<'t>(lists: &'t JsonTemplate, list: &str) -> &'t [JsonTemplate] {
    let JsonTemplate::Object(lists) = lists else {
        return &[];
    };
    let found = lists.iter().find(|(name, _)| name == list);
    match found {
        Some((_, JsonTemplate::Array(items))) => items,
        _ => &[],
    }
}

/// Checks one element of a list of names.
fn name(place: &mut Place<'_, '_>, field: &str, list: &str, text: &Template) {
    if let Some((expression, offset)) = text
        .as_expression()
        .and_then(|expression| Some((expression, text.expressions().next()?.0)))
    {
        let type_ = place.type_of(expression);
        if !is_names(&type_) {
            let message = format!("it gives a name or a list of names, not {type_}");
            place.mistyped(field, offset, message);
        }
    } else if text.as_literal().is_none() && list != "exclude" && is_system(&text.outline()) {
        place.problem(field, "a name that begins with system: never comes from data");
    }
}

/// The names that elements come to, each once. What comes from data is looked at.
fn collected(
    at: &str,
    list: &str,
    items: &[JsonTemplate],
    given: Vec<Option<Value>>,
) -> Result<Vec<String>, Unusable> {
    let mut names: Vec<String> = Vec::new();
    let invalid = |message: String| Unusable::new(StepReason::InvalidApprovers, message);
    for (i, (item, value)) in items.iter().zip(given).enumerate() {
        let text = match item {
            JsonTemplate::Text(text) => Some(text),
            JsonTemplate::Literal(_) | JsonTemplate::Array(_) | JsonTemplate::Object(_) => None,
        };
        let is_data = text.is_some_and(|text| text.as_literal().is_none());
        let found = match value {
            Some(Value::String(name)) => vec![Value::String(name)],
            Some(Value::Array(found)) => found,
            // nothing is there, so nobody is meant
            None | Some(Value::Null) => vec![],
            Some(other) => {
                let message = format!(
                    "{at}[{i}] gives {}, not a name or a list of names",
                    type_name(&other)
                );
                return Err(invalid(message));
            }
        };
        for name in found {
            let Value::String(name) = name else {
                let message = format!(
                    "{at}[{i}] gives a list with {} in it, not a list of names",
                    type_name(&name)
                );
                return Err(invalid(message));
            };
            if let Some(why) = is_data.then(|| unusable(list, &name)).flatten() {
                return Err(invalid(format!("{at}[{i}] gives {:?}: {why}", shortened(&name))));
            }
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() > MAX_NAMES {
                return Err(invalid(format!("{at} comes to more than {MAX_NAMES} names")));
            }
        }
    }
    Ok(names)
}

/// Why a name from data is not taken.
fn unusable(list: &str, name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a name is not empty".to_owned());
    }
    if name.chars().count() > MAX_NAME {
        return Some(format!("a name has at most {MAX_NAME} characters"));
    }
    if name.trim() != name || name.chars().any(|c| c.is_control() || is_hidden(c)) {
        return Some("a name has no control or invisible characters, and no space at its ends".to_owned());
    }
    if name.contains("${") {
        return Some("an expression that comes from data is not read".to_owned());
    }
    // leaving somebody out lets nobody in
    (list != "exclude" && is_system(name))
        .then(|| "a name that begins with system: never comes from data".to_owned())
}

fn is_system(name: &str) -> bool {
    let head = name.get(..SYSTEM.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(SYSTEM))
}

fn shortened(name: &str) -> String {
    name.chars().take(60).collect()
}

fn is_text(type_: &StaticType) -> bool {
    match type_ {
        StaticType::Dyn | StaticType::OneOf(_) => true,
        StaticType::Scalar(scalar) => matches!(scalar, Type::String | Type::Dyn),
        StaticType::Optional(inner) => is_text(inner),
        StaticType::List(_)
        | StaticType::Map(_)
        | StaticType::TypeOf(_)
        | StaticType::Object(_)
        | StaticType::Unresolved(_) => false,
    }
}

fn is_names(type_: &StaticType) -> bool {
    match type_ {
        StaticType::List(item) => is_text(item),
        StaticType::Optional(inner) => is_names(inner),
        other => is_text(other),
    }
}

/// The one expression of a field, whose value is of a type that fits.
fn computed(
    place: &mut Place<'_, '_>,
    field: &str,
    text: &str,
    what: &str,
    fits: impl Fn(&StaticType) -> bool,
) -> Option<Expression> {
    let template = place.template(field, text)?;
    let Some((expression, (offset, _))) = template.as_expression().zip(template.expressions().next()) else {
        place.problem(
            field,
            format!("it is {what}, or one ${{…}} expression that gives one"),
        );
        return None;
    };
    let type_ = place.type_of(expression);
    if !fits(&type_) {
        place.mistyped(field, offset, format!("it gives {what}, not {type_}"));
    }
    Some(expression.clone())
}

fn evaluated(field: &str, expression: &Expression, scope: &Scope) -> Result<Value, Unusable> {
    let value = expression.evaluate(scope);
    value.map_err(|error| Unusable::new(error.reason(), format!("{field}: {error}")))
}
