//! Items that a question shows: a value, and how it is to be shown.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use signoff_expression::{StaticType, Type};

use crate::{
    effect::Request,
    expression::{JsonTemplate, Scope, type_name},
    judge,
    kinds::{Failure, KindPlan, Next},
    plan::Place,
    turn::StepView,
};
use signoff_api::{
    MediaType,
    approval::ShownItem,
    bounds,
    reason::StepReason,
    run::ShownRequest,
    step::{Editable, ShowItem},
};

/// An item with its expressions parsed.
#[derive(Debug)]
pub(super) struct ShownPlan {
    pub(super) name: String,
    content: Content,
    media_type: Option<MediaType>,
    editable: Option<Editable>,
}

#[derive(Debug)]
enum Content {
    Value(JsonTemplate),
    /// The request of a later step.
    Request {
        step: String,
        kind: Arc<dyn KindPlan>,
    },
}

impl ShownPlan {
    /// Parses an item at a field of a place.
    pub(super) fn compile(place: &mut Place<'_, '_>, field: &str, item: &ShowItem) -> Option<Self> {
        let ShowItem {
            name,
            value,
            step,
            media_type,
            editable,
        } = item;
        if let (None, Some(step)) = (value, step) {
            if media_type.is_some() || editable.is_some() {
                place.problem(field, "a request is shown as JSON and cannot be edited");
            }
            let kind = place.later_call(&format!("{field}.step"), step)?;
            return Some(Self {
                name: name.clone(),
                content: Content::Request {
                    step: step.clone(),
                    kind,
                },
                media_type: None,
                editable: None,
            });
        }
        let (Some(value), None) = (value, step) else {
            place.problem(field, "an item has either value or step");
            return None;
        };
        if let Some(Editable { schema }) = editable {
            place.schema(&format!("{field}.editable.schema"), Some(schema));
            if media_type.as_ref().is_some_and(MediaType::is_binary) {
                place.problem(
                    &format!("{field}.editable"),
                    "a picture or a sound cannot be edited",
                );
            }
        }
        let field = format!("{field}.value");
        let value = place.json(&field, &value.0, &[])?;
        if let Some(media_type) = media_type
            .as_ref()
            .filter(|media_type| **media_type != MediaType::Json)
        {
            let type_ = place.type_of_template(&value);
            let is_text = matches!(type_, StaticType::Dyn | StaticType::OneOf(_))
                || matches!(type_, StaticType::Scalar(Type::String | Type::Dyn))
                || matches!(type_, StaticType::Optional(_));
            if !is_text {
                place.mistyped(&field, 0, format!("{media_type} is text, not {type_}"));
            }
        }
        Some(Self {
            name: name.clone(),
            content: Content::Value(value),
            media_type: media_type.clone(),
            editable: editable.clone(),
        })
    }

    /// The item, and the request if it is one.
    pub(super) fn value(
        &self,
        view: &StepView<'_>,
        scope: &Scope,
    ) -> Result<(ShownItem, Option<ShownRequest>), Failure> {
        match &self.content {
            Content::Value(value) => self.of_value(value.value(scope)?).map(|item| (item, None)),
            Content::Request { step, kind } => {
                let request = request(view, step, &**kind)?;
                let item = shown(&self.name, view.run.described(&request), None)?;
                let digest = view.run.digest_of(&request);
                let step = step.clone();
                Ok((item, Some(ShownRequest { step, digest })))
            }
        }
    }

    fn of_value(&self, value: Value) -> Result<ShownItem, Failure> {
        let item = shown(&self.name, value, self.media_type.as_ref())?;
        let item = ShownItem {
            editable: self.editable.clone(),
            ..item
        };
        match judge::misfit_of_item(&item) {
            None => Ok(item),
            Some(why) => {
                let message = format!("the shown item {} does not match its schema: {why}", self.name);
                Err(Failure::new(StepReason::InvalidShownItem, message))
            }
        }
    }
}

/// What a later step would send now.
fn request(view: &StepView<'_>, step: &str, kind: &dyn KindPlan) -> Result<Request, Failure> {
    let refused = |why: String| {
        let message = format!("the request of step {step} cannot be shown: {why}");
        Failure::new(StepReason::InvalidShownItem, message)
    };
    let plan = view.run.plan;
    let planned = plan.index_of(step).map(|step| &plan.steps[step]);
    let planned = planned.ok_or_else(|| refused("there is no such step".to_owned()))?;
    let later = StepView { planned, ..*view };
    match kind.start(&later) {
        Next::Call(request) => Ok(request),
        Next::Fail(failure) => Err(refused(failure.message)),
        Next::Stay
        | Next::Done(_)
        | Next::AttemptFailed(_)
        | Next::Own(_)
        | Next::Wait(_)
        | Next::End(_)
        | Next::GoBack(_)
        | Next::Progress(_)
        | Next::Supersede(..) => Err(refused("it sends none".to_owned())),
    }
}

/// An item as people are shown it.
pub(super) fn shown(name: &str, value: Value, media_type: Option<&MediaType>) -> Result<ShownItem, Failure> {
    let invalid = |why: String| {
        let message = format!("the shown item {name} {why}");
        Failure::new(StepReason::InvalidShownItem, message)
    };
    let json = |value: Value| ("application/json".to_owned(), format!("{value:#}"));
    let (media_type, inline) = match (media_type, value) {
        (None, Value::String(text)) => (MediaType::Plain.to_string(), text),
        (None, other) => json(other),
        (Some(MediaType::Json), Value::String(text)) => {
            json(serde_json::from_str(&text).unwrap_or(Value::String(text)))
        }
        (Some(MediaType::Json), other) => json(other),
        (Some(media_type), Value::String(text)) => {
            if media_type.is_binary() && STANDARD.decode(&text).is_err() {
                return Err(invalid(format!("is {media_type} and not in base64")));
            }
            (media_type.to_string(), text)
        }
        (Some(media_type), other) => {
            return Err(invalid(format!(
                "is {media_type} and gives {}, not text",
                type_name(&other)
            )));
        }
    };
    if inline.len() > bounds::MAX_SHOWN {
        let message = format!("the shown item {name} is larger than {} bytes", bounds::MAX_SHOWN);
        return Err(Failure::new(StepReason::OutputTooLarge, message));
    }
    Ok(ShownItem {
        name: name.to_owned(),
        media_type,
        inline,
        editable: None,
    })
}
