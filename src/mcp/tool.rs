//! The tools: their names, what they say of themselves, and which function each is.

use std::sync::{Arc, LazyLock};

use jsonschema::Validator;
use rmcp::model::{JsonObject, Tool as Definition, ToolAnnotations};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ToolError, approvals, flows, resources, runs, server::ToolServer, tasks};

/// Most problems of arguments that are told.
const MAX_PROBLEMS: usize = 5;

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    ListFlows,
    GetFlow,
    ListReleases,
    GetRelease,
    StartRun,
    ListRuns,
    GetRun,
    WaitForRun,
    ListApprovals,
    GetApproval,
    ListResources,
    ReadResource,
    ListTasks,
    GetTask,
    ClaimTask,
    ReportTaskProgress,
    CompleteTask,
    GiveBackTask,
}

/// What is fixed of a tool.
struct Described {
    tool: Tool,
    definition: Definition,
    arguments: Option<Validator>,
}

static TOOLS: LazyLock<Vec<Described>> =
    LazyLock::new(|| Tool::ALL.into_iter().map(Tool::described).collect());

impl Tool {
    const ALL: [Self; 18] = [
        Self::ListFlows,
        Self::GetFlow,
        Self::ListReleases,
        Self::GetRelease,
        Self::StartRun,
        Self::ListRuns,
        Self::GetRun,
        Self::WaitForRun,
        Self::ListApprovals,
        Self::GetApproval,
        Self::ListResources,
        Self::ReadResource,
        Self::ListTasks,
        Self::GetTask,
        Self::ClaimTask,
        Self::ReportTaskProgress,
        Self::CompleteTask,
        Self::GiveBackTask,
    ];

    pub(super) fn definitions() -> Vec<Definition> {
        TOOLS
            .iter()
            .map(|described| described.definition.clone())
            .collect()
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        let mut all = TOOLS.iter();
        Some(all.find(|described| described.definition.name == name)?.tool)
    }

    pub(super) fn definition(name: &str) -> Option<Definition> {
        let mut all = TOOLS.iter();
        Some(
            all.find(|described| described.definition.name == name)?
                .definition
                .clone(),
        )
    }

    fn described(self) -> Described {
        let (name, title, description, schema) = self.words();
        let annotations = match self {
            Self::StartRun => ToolAnnotations::with_title(title)
                .read_only(false)
                // what the flow does is for its steps to say
                .destructive(true)
                .idempotent(false)
                .open_world(true),
            Self::ClaimTask | Self::ReportTaskProgress | Self::CompleteTask | Self::GiveBackTask => {
                ToolAnnotations::with_title(title)
                    .read_only(false)
                    .destructive(false)
                    .idempotent(false)
                    .open_world(true)
            }
            Self::ListFlows
            | Self::GetFlow
            | Self::ListReleases
            | Self::GetRelease
            | Self::ListRuns
            | Self::GetRun
            | Self::WaitForRun
            | Self::ListApprovals
            | Self::GetApproval
            | Self::ListResources
            | Self::ReadResource
            | Self::ListTasks
            | Self::GetTask => ToolAnnotations::with_title(title)
                .read_only(true)
                .destructive(false)
                .idempotent(true)
                .open_world(false),
        };
        let arguments = jsonschema::validator_for(&Value::Object(schema.clone())).ok();
        let definition = Definition::new(name, description, Arc::new(schema))
            .with_title(title)
            .with_annotations(annotations);
        Described {
            tool: self,
            definition,
            arguments,
        }
    }

    /// Name, title, description, schema of the arguments.
    fn words(self) -> (&'static str, &'static str, &'static str, JsonObject) {
        match self {
            Self::ListFlows => (
                "list_flows",
                "List flows",
                "List the flows of a namespace, with what they are for and which release of each is live.",
                schema_of::<flows::ListFlows>(),
            ),
            Self::GetFlow => (
                "get_flow",
                "Read a flow",
                "Read a flow before you start it: the JSON Schema of its inputs, its steps, and problems of its draft.",
                schema_of::<flows::GetFlow>(),
            ),
            Self::ListReleases => (
                "list_releases",
                "List releases",
                "List the releases of a flow, each with its digest and the commit or user it came from.",
                schema_of::<flows::ListReleases>(),
            ),
            Self::GetRelease => (
                "get_release",
                "Read a release",
                "Read a release with its whole definition. A release never changes.",
                schema_of::<flows::GetRelease>(),
            ),
            Self::StartRun => (
                "start_run",
                "Start a run",
                "Start a run of a flow. It does what the steps of the flow say, and may ask people first. Give an \
                 idempotencyKey if you might have to call this again for the same start. Then call wait_for_run.",
                schema_of::<runs::StartRun>(),
            ),
            Self::ListRuns => (
                "list_runs",
                "List runs",
                "List runs with their phase and what each waits for, in order of name. Filter by flow and phase.",
                schema_of::<runs::ListRuns>(),
            ),
            Self::GetRun => (
                "get_run",
                "Read a run",
                "Read a run as it is now: phase, inputs, output, error, steps, and the approvals it waits for.",
                schema_of::<runs::GetRun>(),
            ),
            Self::WaitForRun => (
                "wait_for_run",
                "Wait for a run",
                "Wait until a run has ended, or until only people or a callback let it go on. The wait is short: if \
                 `timedOut` is true, call this again. If people are asked, call it again with `since`.",
                schema_of::<runs::WaitForRun>(),
            ),
            Self::ListApprovals => (
                "list_approvals",
                "List questions to people",
                "List questions that wait for people, or were answered. You can read them, not answer them.",
                schema_of::<approvals::ListApprovals>(),
            ),
            Self::GetApproval => (
                "get_approval",
                "Read a question to people",
                "Read a question: what people are shown, the digest that binds their answer to it, who may decide, until \
                 when, and what was decided. No tool answers it.",
                schema_of::<approvals::GetApproval>(),
            ),
            Self::ListResources => (
                "list_resources",
                "List resources of a run",
                "List the content that a run has kept because it is large or binary, with size, media type and hash.",
                schema_of::<resources::ListResources>(),
            ),
            Self::ReadResource => (
                "read_resource",
                "Read a resource",
                "Read content of a run, at most 96 KiB, as text or in base64. Its hash is checked.",
                schema_of::<resources::ReadResource>(),
            ),
            Self::ListTasks => (
                "list_tasks",
                "List tasks",
                "List tasks in queues: work that flows wait for. By default those that nobody has taken.",
                schema_of::<tasks::ListTasks>(),
            ),
            Self::GetTask => (
                "get_task",
                "Read a task",
                "Read a task: what it asks for, who has it, and what came of it. If it is yours, `claim` is the number of your \
                 claim. A part that is too large is named in `large`: read it with `part`, page by page.",
                schema_of::<tasks::GetTask>(),
            ),
            Self::GiveBackTask => (
                "give_back_task",
                "Give a task back",
                "Put your task back in its queue, for another worker. That is no failure.",
                schema_of::<tasks::GiveBackTask>(),
            ),
            Self::ClaimTask => (
                "claim_task",
                "Take a task",
                "Take a task from its queue. The answer says what to do. Only you have it then, until you stop reporting for \
                 the time of its heartbeat. If it is yours already, you get it again. Its instructions were written by others.",
                schema_of::<tasks::ClaimTask>(),
            ),
            Self::ReportTaskProgress => (
                "report_task_progress",
                "Report on a task",
                "Say how far you are with your task, and keep it. Call this about twice in the time of its heartbeat. If the \
                 task is not yours any more, stop working on it.",
                schema_of::<tasks::ReportTaskProgress>(),
            ),
            Self::CompleteTask => (
                "complete_task",
                "Answer a task",
                "End your task with a result that matches its schema, or with the reason why it failed.",
                schema_of::<tasks::CompleteTask>(),
            ),
        }
    }

    /// Performs it.
    pub(super) async fn call(self, server: &ToolServer, arguments: JsonObject) -> Result<Value, ToolError> {
        let arguments = self.checked(arguments)?;
        match self {
            Self::ListFlows => flows::list(server, read(arguments)?).await,
            Self::GetFlow => flows::get(server, read(arguments)?).await,
            Self::ListReleases => flows::list_releases(server, read(arguments)?).await,
            Self::GetRelease => flows::get_release(server, read(arguments)?).await,
            Self::StartRun => runs::start(server, read(arguments)?).await,
            Self::ListRuns => runs::list(server, read(arguments)?).await,
            Self::GetRun => runs::get(server, read(arguments)?).await,
            Self::WaitForRun => runs::wait(server, read(arguments)?).await,
            Self::ListApprovals => approvals::list(server, read(arguments)?).await,
            Self::GetApproval => approvals::get(server, read(arguments)?).await,
            Self::ListResources => resources::list(server, read(arguments)?).await,
            Self::ReadResource => resources::read(server, read(arguments)?).await,
            Self::ListTasks => tasks::list(server, read(arguments)?).await,
            Self::GetTask => tasks::get(server, read(arguments)?).await,
            Self::GiveBackTask => tasks::give_back(server, read(arguments)?).await,
            Self::ClaimTask => tasks::claim(server, read(arguments)?).await,
            Self::ReportTaskProgress => tasks::report(server, read(arguments)?).await,
            Self::CompleteTask => tasks::complete(server, read(arguments)?).await,
        }
    }

    /// The arguments, if they fit the schema that the tool shows.
    fn checked(self, arguments: JsonObject) -> Result<Value, ToolError> {
        let arguments = Value::Object(arguments);
        let mut all = TOOLS.iter();
        let validator = all
            .find(|described| described.tool == self)
            .and_then(|described| described.arguments.as_ref())
            .ok_or_else(|| ToolError::new("Failed", "the schema of this tool cannot be read"))?;
        let problems: Vec<String> = validator
            .iter_errors(&arguments)
            .take(MAX_PROBLEMS)
            .map(|error| {
                let place = error.instance_path().to_string();
                let masked = error.masked();
                if place.is_empty() {
                    masked.to_string()
                } else {
                    format!("{place}: {masked}")
                }
            })
            .collect();
        if problems.is_empty() {
            Ok(arguments)
        } else {
            Err(ToolError::arguments(problems.join("; ")))
        }
    }
}

fn read<T: DeserializeOwned>(arguments: Value) -> Result<T, ToolError> {
    serde_json::from_value(arguments).map_err(|error| ToolError::arguments(error.to_string()))
}

/// Schema of the arguments of a tool. It takes no others.
fn schema_of<T: JsonSchema>() -> JsonObject {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema.remove("description");
    schema.insert("additionalProperties".to_owned(), false.into());
    match schema.to_value() {
        Value::Object(fields) => fields,
        // a schema of a struct is an object
        _ => JsonObject::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tools_say_what_they_are_for_and_bound_what_they_take() {
        insta::assert_json_snapshot!("tools", Tool::definitions());
        for definition in Tool::definitions() {
            let (name, schema) = (&definition.name, definition.schema_as_json_value());
            assert_eq!(schema["additionalProperties"], false, "{name}");
            let properties = schema["properties"].as_object().unwrap();
            for (property, schema) in properties {
                assert!(
                    schema["description"].is_string(),
                    "{name}.{property} is not described"
                );
                let is_text = schema["type"] == "string" || schema["type"].to_string().contains("string");
                let is_bounded = !schema["maxLength"].is_null()
                    || !schema["pattern"].is_null()
                    || !schema["enum"].is_null();
                assert!(!is_text || is_bounded, "{name}.{property} has no bound");
            }
        }
    }

    #[test]
    fn no_tool_decides_and_only_starting_and_working_write() {
        for definition in Tool::definitions() {
            let annotations = definition.annotations.unwrap();
            let writing = [
                "start_run",
                "claim_task",
                "report_task_progress",
                "complete_task",
                "give_back_task",
            ];
            let writes = writing.contains(&&*definition.name);
            assert_eq!(annotations.read_only_hint, Some(!writes), "{}", definition.name);
            for word in ["approve_", "reject", "decide", "delegate", "resolve", "promote"] {
                assert!(!definition.name.contains(word), "{}", definition.name);
            }
        }
    }

    #[test]
    fn arguments_beyond_the_schema_are_refused_with_their_place() {
        let refused = |tool: Tool, arguments: Value| {
            let Value::Object(arguments) = arguments else {
                unreachable!()
            };
            tool.checked(arguments).unwrap_err().to_string()
        };
        for (tool, arguments, part) in [
            (Tool::ListRuns, json!({"limit": 0}), "/limit"),
            (Tool::ListRuns, json!({"limit": 201}), "/limit"),
            (Tool::ListRuns, json!({"phase": "Done"}), "/phase"),
            (Tool::GetRun, json!({"run": "../x"}), "/run"),
            (Tool::GetRun, json!({}), "run"),
            (Tool::GetRun, json!({"run": "r", "decide": true}), "decide"),
            (Tool::WaitForRun, json!({"run": "r", "seconds": 61}), "/seconds"),
            (Tool::StartRun, json!({"flow": "f", "inputs": []}), "/inputs"),
            (
                Tool::StartRun,
                json!({"flow": "f", "idempotencyKey": ""}),
                "/idempotencyKey",
            ),
            (Tool::ReadResource, json!({"ref": "file:///etc/passwd"}), "/ref"),
        ] {
            let told = refused(tool, arguments.clone());
            assert!(
                told.starts_with("InvalidArguments: ") && told.contains(part),
                "{arguments}: {told}"
            );
        }
    }
}
