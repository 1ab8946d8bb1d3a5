//! A commit and a pull request as people are shown them.

use serde_json::{Value, json};

use crate::{
    effect::{GitCommit, GitContent, GitFileChange, GitPull, GitRequest, GitTarget},
    facts::Facts,
    question::item,
};
use signoff_api::approval::ShownItem;

/// A commit for people: where it goes, its message and its files.
pub(in crate::kinds) fn shown(
    request: &GitRequest,
    _: &Facts,
    hide: &dyn Fn(String) -> String,
) -> Vec<ShownItem> {
    let described = described(request, hide);
    vec![item("commit", "application/json", format!("{described:#}"))]
}

/// A commit and a pull request as a document, with everything that is in them but the trailers.
pub(in crate::kinds) fn described(request: &GitRequest, hide: &dyn Fn(String) -> String) -> Value {
    let GitRequest {
        target,
        bound: _,
        branch,
        base,
        commit,
        pull_request,
    } = request;
    let mut document = match target {
        GitTarget::Repository(name) => json!({ "repository": name }),
        GitTarget::Connection(name) => json!({ "connection": name }),
    };
    document["branch"] = json!(hide(branch.to_string()));
    if let Some(base) = base {
        document["base"] = json!(hide(base.to_string()));
    }
    if let Some(commit) = commit {
        let GitCommit {
            message,
            files,
            if_exists,
        } = commit;
        document["message"] = json!(hide(message.clone()));
        let files = files.iter().map(|file| {
            let path = hide(file.path.to_string());
            match &file.change {
                GitFileChange::Delete => json!({ "path": path, "delete": true }),
                GitFileChange::Write { content, executable } => {
                    let mut said = match content {
                        GitContent::Text(text) => json!({ "path": path, "content": hide(text.clone()) }),
                        GitContent::Resource(from) => json!({ "path": path, "from": from }),
                    };
                    if let Some(executable) = executable {
                        said["mode"] = json!(if *executable { "Executable" } else { "File" });
                    }
                    said
                }
            }
        });
        document["files"] = files.collect();
        if let Some(if_exists) = if_exists {
            document["ifExists"] = json!(if_exists);
        }
    }
    if let Some(pull) = pull_request {
        let GitPull {
            into,
            title,
            body,
            draft,
            reviewers,
        } = pull;
        document["pullRequest"] = json!({
            "into": hide(into.to_string()),
            "title": hide(title.clone()),
            "body": hide(body.clone()),
            "draft": draft,
            "reviewers": reviewers,
        });
    }
    document
}
