//! `signoff ui`: the page as a browser uses it, and as other sites try to.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode,
    blocking::{Client, RequestBuilder, Response},
    redirect::Policy,
};

use super::Waiting;

const STEPS: &str = "  - name: ask\n    approval:\n      title: 'Pay <b>5</b> for ${inputs.?t.orValue(\"\")}?'\n      approvers: {groups: [finance]}\n      \
    show: [{name: quote, value: '<script>alert(1)</script>'}]\n      \
    form: {type: object, required: [amount], properties: {amount: {type: integer, minimum: 0}}}\n  - name: pay\n    set: {x: '${steps.ask.decision.values.amount}'}\n";

/// A page that is served, and a browser that was let in.
struct Page {
    process: Child,
    client: Client,
    address: String,
    login: String,
    cookie: String,
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Page {
    fn of(waiting: &Waiting, user: &str) -> Self {
        let mut process = waiting
            .desk
            .signoff(user, &["ui"])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let login = lines
            .find_map(|line| {
                let line = line.unwrap();
                line.trim().starts_with("http://").then(|| line.trim().to_owned())
            })
            .unwrap();
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        let address = login.split("/login").next().unwrap().to_owned();
        let answer = client.get(&login).send().unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self {
            process,
            client,
            address,
            login,
            cookie,
        }
    }

    fn get(&self, path: &str) -> String {
        let answer = self.with_cookie(self.client.get(format!("{}{path}", self.address)));
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.headers()["cache-control"], "no-store");
        answer.text().unwrap()
    }

    fn with_cookie(&self, request: RequestBuilder) -> Response {
        request.header("cookie", &self.cookie).send().unwrap()
    }

    /// Sends a form as the page does.
    fn post(&self, path: &str, fields: &[(&str, &str)]) -> Response {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let request = self.client.post(format!("{}{path}", self.address)).body(body);
        self.with_cookie(request.header("origin", &self.address))
    }
}

/// A page once it says something.
fn eventually(read: impl Fn() -> String, said: &str) -> String {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let page = read();
        if page.contains(said) {
            return page;
        }
        assert!(Instant::now() < until, "{said}\n{page}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The value of a hidden field.
fn hidden<'a>(page: &'a str, name: &str) -> &'a str {
    let field = format!("name=\"{name}\" value=\"");
    page.split(&field).nth(1).unwrap().split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_finds_a_question_answers_it_on_the_page_and_sees_what_becomes_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &["t=<i>x</i>\u{202e}"]).await;
    tokio::task::block_in_place(|| {
        let page = Page::of(&waiting, "alice");
        let inbox = page.get("/");
        assert!(inbox.contains("Waiting for you (1)"), "{inbox}");
        let path = format!("/ns/{}/approvals/{}", waiting.desk.namespace, waiting.approval);
        assert!(inbox.contains(&path), "{inbox}");
        let question = page.get(&path);
        // what others wrote is text, whatever it looks like
        for raw in ["<b>5</b>", "<script>", "<i>x", "\u{202e}"] {
            assert!(!question.contains(raw), "{raw}\n{question}");
        }
        assert!(
            question.contains("alert(1)") && question.contains("the run goes on with step pay"),
            "{question}"
        );
        let (form, digest) = (hidden(&question, "form"), hidden(&question, "digest"));
        let decisions = format!("{path}/decisions");
        let fields = |verdict, amount| {
            [
                ("form", form),
                ("digest", digest),
                ("verdict", verdict),
                ("value.amount", amount),
                ("comment", "fine"),
            ]
        };
        let misfit = page.post(&decisions, &fields("Approve", "much"));
        let misfit = misfit.text().unwrap();
        assert!(
            misfit.contains("Nothing was sent") && misfit.contains("amount"),
            "{misfit}"
        );
        let sent = page.post(&decisions, &fields("Approve", "7"));
        assert_eq!(sent.status(), StatusCode::SEE_OTHER);
        let told = page.get(sent.headers()["location"].to_str().unwrap());
        assert!(told.contains("Your Approve counts."), "{told}");
        assert!(told.contains("This question is closed. Approved"), "{told}");
        let (code, out, err) = waiting.plain("dev", &["wait", &waiting.run]);
        assert_eq!(code, 0, "{out}{err}");
        let run = page.get(&format!("/ns/{}/runs/{}", waiting.desk.namespace, waiting.run));
        assert!(run.contains("Succeeded") && run.contains("alice"), "{run}");
        assert!(page.get("/").contains("Waiting for you (0)"));
        assert!(page.get("/runs").contains(&waiting.run));
        assert!(page.get("/flows").contains("/flows/ask"));
        let flow = page.get(&format!("/ns/{}/flows/ask", waiting.desk.namespace));
        assert!(
            flow.contains("Latest runs") && flow.contains(&waiting.run),
            "{flow}"
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_decide_is_told_why_and_a_stale_page_decides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &["t=x"]).await;
    tokio::task::block_in_place(|| {
        let page = Page::of(&waiting, "dev");
        assert!(page.get("/").contains("Waiting for others (1)"));
        let path = format!("/ns/{}/approvals/{}", waiting.desk.namespace, waiting.approval);
        let question = page.get(&path);
        assert!(
            question.contains("An answer of yours would not count"),
            "{question}"
        );
        assert!(!question.contains("value=\"Approve\""), "{question}");
        let page = Page::of(&waiting, "alice");
        let question = page.get(&path);
        let stale = format!("sha256:{}", "0".repeat(64));
        let fields = [
            ("form", hidden(&question, "form")),
            ("digest", stale.as_str()),
            ("verdict", "Approve"),
            ("value.amount", "7"),
        ];
        let told = page.post(&format!("{path}/decisions"), &fields).text().unwrap();
        assert!(told.contains("has changed since you loaded the page"), "{told}");
        let (_, out, _) = waiting.plain("alice", &["approvals", "-o", "name"]);
        assert!(out.contains(&waiting.approval), "{out}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_program_or_browser_gets_in() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &["t=x"]).await;
    tokio::task::block_in_place(|| {
        let page = Page::of(&waiting, "alice");
        let path = format!("/ns/{}/approvals/{}", waiting.desk.namespace, waiting.approval);
        let question = page.get(&path);
        let (form, digest) = (
            hidden(&question, "form").to_owned(),
            hidden(&question, "digest").to_owned(),
        );
        // the code was used
        assert_eq!(
            page.client.get(&page.login).send().unwrap().status(),
            StatusCode::FORBIDDEN
        );
        // no cookie
        let answer = page.client.get(&page.address).send().unwrap();
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        // another name for this machine
        let rebound = page.with_cookie(page.client.get(&page.address).header("host", "evil.example"));
        assert_eq!(rebound.status(), StatusCode::MISDIRECTED_REQUEST);
        let body = format!("form={form}&digest={digest}&verdict=Reject");
        let post = || {
            page.client
                .post(format!("{}{path}/decisions", page.address))
                .body(body.clone())
        };
        for (what, request) in [
            ("no origin", post()),
            ("another origin", post().header("origin", "https://evil.example")),
            (
                "another port",
                post()
                    .header("origin", "http://127.0.0.1:1")
                    .header("sec-fetch-site", "same-site"),
            ),
        ] {
            assert_eq!(
                page.with_cookie(request).status(),
                StatusCode::FORBIDDEN,
                "{what}"
            );
        }
        let forged = page.post(
            &format!("{path}/decisions"),
            &[("form", "x"), ("digest", &digest), ("verdict", "Reject")],
        );
        assert_eq!(forged.status(), StatusCode::FORBIDDEN);
        // nothing decides on GET
        let get = page
            .client
            .get(format!("{}{path}/decisions?{body}", page.address));
        assert_eq!(page.with_cookie(get).status(), StatusCode::METHOD_NOT_ALLOWED);
        for strange in [
            "/ns/x/approvals/..%2F..%2Fsecrets",
            "/ns/a%2Fb/runs/c",
            "/nothing",
        ] {
            let answer = page.with_cookie(page.client.get(format!("{}{strange}", page.address)));
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{strange}");
        }
        let (_, out, _) = waiting.plain("alice", &["approvals", "-o", "name"]);
        assert!(out.contains(&waiting.approval), "{out}");
    });
}

/// A picture of one point, and one that could hold a script.
const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const SVG: &str = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciPjxzY3JpcHQvPjwvc3ZnPg==";

#[tokio::test(flavor = "multi_thread")]
async fn each_item_is_shown_as_what_it_is_and_nothing_of_it_acts() {
    let dir = tempfile::tempdir().unwrap();
    let hostile = r#"<script>alert(1)</script><img src=x onerror=alert(1)>\u202e"#;
    let steps = format!(
        r##"  - name: ask
    approval:
      title: Apply it?
      show:
        - {{name: change, mediaType: text/x-diff, value: "--- a/x\n+++ b/x\n@@ -7 +7 @@\n-limit: 100 {hostile}\n+limit: 250 {hostile}\n"}}
        - {{name: quote, value: {{amount: 250, "key {hostile}": "value {hostile}"}}}}
        - {{name: plan, mediaType: text/markdown, value: "# Plan\n\nText {hostile} [pay](javascript:alert(1)) ![p](https://evil.example/p.png) [site](https://shop.example.com/)"}}
        - {{name: large, value: "{lines}"}}
        - {{name: picture, mediaType: image/png, value: {PNG}}}
        - {{name: vector, mediaType: image/svg+xml, value: {SVG}}}
"##,
        lines = r"a line\n".repeat(450),
    );
    let waiting = Waiting::on(dir.path(), &steps, &[]).await;
    tokio::task::block_in_place(|| {
        let page = Page::of(&waiting, "alice");
        let path = format!("/ns/{}/approvals/{}", waiting.desk.namespace, waiting.approval);
        let question = page.get(&path);
        // the one script is ours
        let others = question.replace("<script src=\"/live.js\" defer></script>", "");
        for raw in [
            "<script",
            "<img src=x",
            "\u{202e}",
            "href=\"javascript",
            "src=\"https",
        ] {
            assert!(!others.contains(raw), "{raw}\n{question}");
        }
        for drawn in [
            "1 line added, 1 line removed",
            "<td class=\"number\">7</td>",
            "<code class=\"key\">&quot;amount&quot;</code>: <code>250</code>",
            "<h4>Plan</h4>",
            "[picture that is not loaded: p",
            "href=\"https://shop.example.com/\"",
            "50 of 450 lines are left out",
            "A browser shows no such content safely",
        ] {
            assert!(question.contains(drawn), "{drawn}\n{question}");
        }
        let whole = page.get(&format!("{path}?all=1"));
        assert!(!whole.contains("are left out"), "{whole}");
        assert_eq!(whole.matches("a line").count(), 450);
        let address = |begin: &str, end: &str| {
            let from = question.find(begin).unwrap() + begin.len();
            let rest = &question[from..];
            rest[..rest.find(end).unwrap()].to_owned()
        };
        let read = |path: &str| {
            let answer = page.with_cookie(page.client.get(format!("{}{path}", page.address)));
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("cross-origin-resource-policy"), "same-origin");
            (answer.status(), header("content-type"), answer)
        };
        let picture = address("<img class=\"picture\" src=\"", "\"");
        let (status, kind, answer) = read(&picture);
        assert!(status == StatusCode::OK && kind == "image/png", "{status} {kind}");
        assert!(answer.bytes().unwrap().starts_with(b"\x89PNG"));
        assert_eq!(question.matches("<img").count(), 1, "{question}");
        // what is no picture is only saved
        let vector = question.split("href=\"").find(|rest| {
            rest.split_once('>')
                .is_some_and(|(_, text)| text.starts_with("Save vector"))
        });
        let vector = vector.unwrap().split('"').next().unwrap().to_owned();
        let (status, kind, answer) = read(&vector);
        assert!(
            status == StatusCode::OK && kind == "application/octet-stream",
            "{status} {kind}"
        );
        assert_eq!(
            answer.headers()["content-disposition"],
            "attachment; filename=\"vector.bin\""
        );
        let other = format!("{path}/items/{}/download", "0".repeat(64));
        for (path, expected) in [
            (vector.replace("/download", "/picture"), StatusCode::NOT_FOUND),
            (other, StatusCode::NOT_FOUND),
            (
                format!("{path}/items/..%2F..%2Fx/download"),
                StatusCode::NOT_FOUND,
            ),
        ] {
            assert_eq!(read(&path).0, expected, "{path}");
        }
        let saved = page.client.get(format!("{}{picture}", page.address)).send();
        assert_eq!(
            saved.unwrap().status(),
            StatusCode::FORBIDDEN,
            "without the cookie"
        );
    });
}

const EDITABLE: &str = "  - name: ask\n    approval:\n      title: Send it?\n      quorum: 2\n      \
    show: [{name: text, value: first version, editable: {schema: {type: string}}}]\n  - name: pay\n    set: {x: 1}\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_on_the_page_and_can_be_approved_as_it_was_changed() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), EDITABLE, &[]).await;
    let approval = waiting.approval.as_str();
    tokio::task::block_in_place(|| {
        let (code, _, err) = waiting.plain(
            "alice",
            &["approve", approval, "--change", "text=second <b>", "-y"],
        );
        assert_eq!(code, 0, "{err}");
        let path = format!("/ns/{}/approvals/{approval}", waiting.desk.namespace);
        let bob = Page::of(&waiting, "bob");
        let question = bob.get(&path);
        assert!(
            question.contains("first version") && question.contains("As alice changed it"),
            "{question}"
        );
        assert!(
            question.contains("second &#60;b&#62;") || question.contains("second &lt;b&gt;"),
            "{question}"
        );
        let decisions = format!("{path}/decisions");
        let (form, digest, changed) = (
            hidden(&question, "form"),
            hidden(&question, "digest"),
            hidden(&question, "changed"),
        );
        let fields = |changed| {
            [
                ("form", form),
                ("digest", digest),
                ("changed", changed),
                ("verdict", "ApproveAsChanged"),
                ("comment", "as alice says"),
            ]
        };
        // a change that was not on the page is not approved, and what was typed stays
        let other = bob.post(&decisions, &fields(digest));
        assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let other = other.text().unwrap();
        assert!(
            other.contains("Somebody changed what is shown") && other.contains(">as alice says</textarea>"),
            "{other}"
        );
        let sent = bob.post(&decisions, &fields(changed));
        assert_eq!(sent.status(), StatusCode::SEE_OTHER);
        let location = sent.headers()["location"].to_str().unwrap().to_owned();
        assert!(bob.get(&location).contains("Your Approve counts."));
        // a second press finds the first, and sends nothing
        let again = bob.post(&decisions, &fields(changed));
        assert_eq!(again.headers()["location"].to_str().unwrap(), location);
        let alice = Page::of(&waiting, "alice");
        // it is not hers
        let question = alice.get(&location);
        assert!(!question.contains("class=\"said\""), "{question}");
        assert!(alice.get(&format!("{path}?said=nothing")).contains("Send it?"));
        // whoever made a change sees what their other answer does to those who took it over
        assert!(
            question.contains("It sets aside the approval of bob"),
            "{question}"
        );
        assert!(!question.contains("ApproveAsChanged"), "{question}");
        // nobody hands on what is not on offer
        assert!(!question.contains("Hand your vote on"), "{question}");
        let refused = alice.post(
            &decisions,
            &[
                ("form", hidden(&question, "form")),
                ("digest", digest),
                ("verdict", "Delegate"),
                ("to", "carol"),
            ],
        );
        assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let refused = refused.text().unwrap();
        assert!(
            refused.contains("Nothing was sent") && refused.contains("not on offer"),
            "{refused}"
        );
        let (_, out, _) = waiting.plain("dev", &["show", approval, "-o", "json"]);
        assert!(out.contains("\"by\": \"bob\""), "{out}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_on_a_page_that_is_not_loaded_again_while_somebody_types() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &["t=x"]).await;
    tokio::task::block_in_place(|| {
        let page = Page::of(&waiting, "dev");
        let run = format!("/ns/{}/runs/{}", waiting.desk.namespace, waiting.run);
        let shown = page.get(&run);
        assert!(
            shown.contains("http-equiv=\"refresh\"") && !shown.contains("<input"),
            "{shown}"
        );
        let inbox = page.get("/");
        assert!(
            inbox.contains("http-equiv=\"refresh\"") && !inbox.contains("<input"),
            "{inbox}"
        );
        assert!(page.get("/namespace").contains("<input"));
        let cancel = format!("{run}/cancel");
        let asked = page.get(&cancel);
        assert!(!asked.contains("http-equiv"), "{asked}");
        // Enter in the field presses the first button, which does nothing
        assert!(
            asked.find("<button disabled hidden>") < asked.find("<button class=\"bad\">"),
            "{asked}"
        );
        let fields = [("form", hidden(&asked, "form")), ("comment", "no longer wanted")];
        assert_eq!(page.post(&cancel, &fields).status(), StatusCode::SEE_OTHER);
        let (code, out, err) = waiting.plain("dev", &["wait", &waiting.run]);
        assert!(code == 6 && out.contains("no longer wanted"), "{out}{err}");
        // and goes on in another one, once
        let ended = page.get(&run);
        assert!(
            ended.contains("<svg class=\"graph\"")
                && ended.contains("Retry this run")
                && !ended.contains("Cancel this run"),
            "{ended}"
        );
        let retry = format!("{run}/retry");
        let asked = page.get(&retry);
        assert!(
            asked.contains("<option value=\"ask\" selected>ask</option>"),
            "{asked}"
        );
        let forged = page.post(&retry, &[("form", "x"), ("from", "ask")]);
        assert_eq!(forged.status(), StatusCode::FORBIDDEN);
        let nowhere = page.post(&retry, &[("form", hidden(&asked, "form")), ("from", "<b>")]);
        assert_eq!(nowhere.status(), StatusCode::CONFLICT);
        assert!(!nowhere.text().unwrap().contains("<b>"));
        let fields = [("form", hidden(&asked, "form")), ("from", "ask")];
        let started = page.post(&retry, &fields);
        assert_eq!(started.status(), StatusCode::SEE_OTHER);
        let started = started.headers()["location"].to_str().unwrap().to_owned();
        assert!(page.get(&started).contains("It goes on from"));
        let again = page.post(&retry, &fields);
        assert_eq!(again.status(), StatusCode::CONFLICT);
        assert!(again.text().unwrap().contains(&started), "it names the other run");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_drawn_with_its_steps_and_values_and_nothing_of_it_acts() {
    let dir = tempfile::tempdir().unwrap();
    let steps = "  - name: ask\n    approval: {title: Go?}\n  - name: look\n    when: '${true}'\n    set: {x: '${inputs.t}', deep: {a: [1, '<b>']}}\n";
    let waiting = Waiting::on(dir.path(), steps, &["t=<script>x</script>\u{202e}"]).await;
    tokio::task::block_in_place(|| {
        let (code, _, err) = waiting.plain("alice", &["approve", &waiting.approval, "-y", "-m", "fine <i>"]);
        assert_eq!(code, 0, "{err}");
        let (code, out, err) = waiting.plain("dev", &["wait", &waiting.run]);
        assert_eq!(code, 0, "{out}{err}");
        let page = Page::of(&waiting, "dev");
        let shown = page.get(&format!("/ns/{}/runs/{}", waiting.desk.namespace, waiting.run));
        for raw in ["<script>", "<b>", "<i>", "\u{202e}"] {
            assert!(!shown.contains(raw), "{raw}\n{shown}");
        }
        for part in [
            "<svg class=\"graph\"",
            "<svg class=\"span good\"",
            "class=\"tree\"",
            "&quot;deep&quot;",
            "by alice",
            "fine &#60;i&#62;",
            "<title>look (set)",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        assert!(
            !shown.contains("Cancel this run") && !shown.contains("Retry this run"),
            "it succeeded\n{shown}"
        );
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_shows_what_is_live_what_a_promotion_changes_and_when_it_starts_next() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &["t=x"]).await;
    tokio::task::block_in_place(|| {
        let manifest = dir.path().join("next.yaml");
        let text = "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {name: ask}\nspec:\n  \
                    description: \"Pays <b>\\u202e\"\n  triggers: [{name: nightly, schedule: {cron: '0 3 * * *'}}]\n  steps:\n  \
                    - name: pay\n    set: {x: '<script>'}\n";
        std::fs::write(&manifest, text).unwrap();
        let (code, out, err) = waiting.plain("dev", &["apply", "-f", manifest.to_str().unwrap()]);
        assert_eq!(code, 0, "{out}{err}");
        let page = Page::of(&waiting, "dev");
        let path = format!("/ns/{}/flows/ask", waiting.desk.namespace);
        let flow = page.get(&path);
        for part in [
            "What a promotion changes",
            "It takes away some control of people",
            "<strong>live</strong>",
            "<strong>draft</strong>",
            "<svg class=\"graph\"",
        ] {
            assert!(flow.contains(part), "{part}\n{flow}");
        }
        for raw in ["<b>", "<script>", "\u{202e}"] {
            assert!(!flow.contains(raw), "{raw}\n{flow}");
        }
        let (code, out, err) = waiting.plain("dev", &["promote", "ask"]);
        assert_eq!(code, 0, "{out}{err}");
        let flow = eventually(|| page.get(&path), "nightly, next <time");
        assert!(!flow.contains("What a promotion changes"), "{flow}");
        let flows = page.get("/flows");
        assert!(flows.contains("nightly <time datetime="), "{flows}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_sent_again_only_when_it_says_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Waiting::on(dir.path(), STEPS, &["t=x"]).await;
    tokio::task::block_in_place(|| {
        let page = Page::of(&waiting, "alice");
        let path = format!("/ns/{}/approvals/{}", waiting.desk.namespace, waiting.approval);
        let read = |known: Option<&str>| {
            let request = page.client.get(format!("{}{path}", page.address));
            let request = match known {
                Some(known) => request.header("if-none-match", known),
                None => request,
            };
            let answer = page.with_cookie(request);
            let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
            (answer.status(), tag, answer.text().unwrap())
        };
        let (_, tag, first) = read(None);
        assert!(
            first.contains("data-live=\"") && first.contains("data-fixed"),
            "{first}"
        );
        let (status, same, text) = read(Some(&tag));
        assert_eq!(
            (status, same.as_str(), text.as_str()),
            (StatusCode::NOT_MODIFIED, tag.as_str(), "")
        );
        let (code, _, err) = waiting.plain("alice", &["reject", &waiting.approval, "-y", "-m", "no"]);
        assert_eq!(code, 0, "{err}");
        let (status, other, text) = read(Some(&tag));
        assert!(status == StatusCode::OK && other != tag, "{status}");
        assert!(
            text.contains("This question is closed") && !text.contains("data-live"),
            "{text}"
        );
        // nobody else is told whether something has changed
        let stranger = page
            .client
            .get(format!("{}{path}", page.address))
            .header("if-none-match", &other);
        assert_eq!(stranger.send().unwrap().status(), StatusCode::FORBIDDEN);
        let script = page.with_cookie(page.client.get(format!("{}/live.js", page.address)));
        assert_eq!(script.headers()["content-type"], "text/javascript; charset=utf-8");
        let policy = script.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("script-src 'self';"), "{policy}");
        // no script stands within a page
        assert_eq!(first.matches("<script").count(), 1, "{first}");
        assert!(first.contains("<script src=\"/live.js\" defer></script>"));
    });
}
