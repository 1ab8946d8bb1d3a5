use super::*;
use crate::git::{CommitId, SourceFile};

pub(crate) const GOOD: &str = "\
apiVersion: signoff.dev/v1alpha1
kind: Flow
metadata: {name: good, labels: {team: a}}
spec:
  steps:
  - name: one
    set: {x: 1}
";

pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    Tree {
        commit: CommitInfo {
            id: CommitId::parse(&"1".repeat(40)).unwrap(),
            author: "Dev <dev@example.com>".into(),
            message: "Add".into(),
            seconds: 0,
        },
        folder: String::new(),
        files: files
            .iter()
            .map(|(path, text)| SourceFile {
                path: (*path).into(),
                text: (*text).into(),
            })
            .collect(),
        passed_over: vec![],
        problems: vec![],
        complete: true,
    }
}

/// `path:line:column message` of every problem.
fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let defined = read(tree(files), "default");
    let place = |at: Option<usize>| at.map_or("-".to_owned(), |at| at.to_string());
    defined
        .problems
        .iter()
        .map(|p| format!("{}:{}:{} {}", p.path, place(p.line), place(p.column), p.message))
        .collect()
}

#[test]
fn reads_flows_and_leaves_other_manifests_alone() {
    let other = "apiVersion: v1\nkind: ConfigMap\n---\n[1, 2]\n---\nfoo: bar\n---\napiVersion: signoff.dev/v1alpha1\nkind: Connection\n";
    let both = format!("{other}---\n{GOOD}");
    let defined = read(
        tree(&[("a.yaml", &both), ("package.json", "{\"name\": \"x\"}")]),
        "default",
    );
    assert!(defined.problems.is_empty(), "{:?}", defined.problems);
    let flow = &defined.flows["good"];
    assert_eq!(
        (flow.labels["team"].as_str(), flow.place.path.as_str(), flow.valid),
        ("a", "a.yaml", true)
    );
}

#[test]
fn a_broken_file_is_named_by_line_and_the_good_one_is_read() {
    let bad = "apiVersion: signoff.dev/v1alpha1\nb: [1,\nc: 2\n";
    let files = [("bad.yaml", bad), ("good.yaml", GOOD)];
    let defined = read(tree(&files), "default");
    assert!(defined.flows.contains_key("good"));
    assert_eq!(
        (
            defined.problems[0].path.as_str(),
            defined.problems[0].line.is_some()
        ),
        ("bad.yaml", true)
    );
    assert!(!defined.knows(Some("bad.yaml")) && defined.knows(Some("good.yaml")) && defined.knows(None));
}

#[test]
fn files_of_other_tools_are_nobodys_problem_however_they_look() {
    let helm = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Values.name }}\n{{- if .x }}\n  labels: {signoff.dev/flow: x}\n{{- end }}\n";
    let deep = "[".repeat(20_000);
    let files = [
        (
            "tsconfig.json",
            "{\n  // see https://signoff.dev/docs\n  \"a\": 1,\n}",
        ),
        ("templates/x.yaml", helm),
        ("twice.yaml", "a: 1\na: 2\n"),
        ("deep.json", deep.as_str()),
        ("empty.yaml", ""),
        ("tabs.yml", "a:\n\t- b\n"),
        ("good.yaml", GOOD),
    ];
    assert_eq!(problems(&files), [""; 0]);
    let defined = read(tree(&files), "default");
    assert!(defined.knows_all() && defined.flows.contains_key("good"));
}

#[test]
fn a_wrong_kind_of_our_group_is_told_by_its_place() {
    for (kind, shown) in [("flow", "\"flow\""), ("Flows", "\"Flows\""), ("''", "\"\"")] {
        let text = GOOD.replace("kind: Flow", &format!("kind: {kind}"));
        let told = problems(&[("f.yaml", &text)]);
        let expected = format!("f.yaml:2:1 kind: there is no kind {shown} in signoff.dev/v1alpha1");
        assert!(told.len() == 1 && told[0].starts_with(&expected), "{told:?}");
        assert!(!read(tree(&[("f.yaml", &text)]), "default").knows(Some("f.yaml")));
    }
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let with = |from: &str, to: &str| GOOD.replace(from, to);
    let field = "there is no such field";
    for (text, expected) in [
        (
            with("v1alpha1", "v9"),
            "f.yaml:1:1 apiVersion: only signoff.dev/v1alpha1 is known".to_owned(),
        ),
        (
            with("good", "Good"),
            "f.yaml:3:12 metadata.name: a flow needs a name of".to_owned(),
        ),
        (
            with("labels: {team: a}", "namespace: other"),
            "f.yaml:3:24 metadata.namespace: a Repository applies".to_owned(),
        ),
        (
            with("{x: 1}", "{x: 1}\n    colour: red"),
            format!("f.yaml:8:5 spec.steps[0].colour: {field}"),
        ),
        (
            with("  steps:", "  colour: red\n  steps:"),
            format!("f.yaml:5:3 spec.colour: {field}"),
        ),
        (
            with("set: {x: 1}", "sett: {x: 1}"),
            format!("f.yaml:7:5 spec.steps[0].sett: {field}; did you mean set?"),
        ),
        (
            with("name: one", "nam: one"),
            format!("f.yaml:6:5 spec.steps[0].nam: {field}; did you mean name?"),
        ),
        (
            with("steps:", "stepps:"),
            format!("f.yaml:5:3 spec.stepps: {field}; did you mean steps?"),
        ),
        (
            with("x: 1", "x: '${inputs.nope}'"),
            "f.yaml:7:11 spec.steps[0].set.x: ".to_owned(),
        ),
    ] {
        let found = problems(&[("f.yaml", &text)]);
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        assert!(found[0].starts_with(&expected), "{found:?} is not {expected:?}");
    }
}

#[test]
fn the_second_flow_of_a_name_is_a_problem_and_the_first_stays() {
    let defined = read(tree(&[("a.yaml", GOOD), ("b.yaml", GOOD)]), "default");
    assert_eq!(defined.flows["good"].place.path, "a.yaml");
    assert_eq!(
        problems(&[("a.yaml", GOOD), ("b.yaml", GOOD)]),
        ["b.yaml:3:12 metadata.name: a flow named \"good\" is defined in a.yaml already"]
    );
}

#[test]
fn a_definition_that_cannot_run_is_read_but_not_valid() {
    let text = GOOD.replace("x: 1", "x: '${steps.nowhere.output}'");
    let defined = read(tree(&[("a.yaml", &text)]), "default");
    assert!(!defined.flows["good"].valid && !defined.problems.is_empty());
}

#[test]
fn what_the_api_server_refuses_is_told_by_field() {
    let defined = read(tree(&[("a.yaml", GOOD)]), "default");
    let status: Status = serde_json::from_value(serde_json::json!({
        "code": 422, "message": "invalid",
        "details": {"causes": [{"field": "spec.steps[0].set", "message": "too long"}]}
    }))
    .unwrap();
    let problems = defined.flows["good"].place.refused(&status);
    assert_eq!((problems[0].line, problems[0].column), (Some(7), Some(5)));
    assert_eq!(problems[0].message, "spec.steps[0].set: too long");
}

#[test]
fn a_file_full_of_mistakes_is_told_in_part_and_holds_back_no_other_file() {
    let nameless = "---\napiVersion: signoff.dev/v1alpha1\nkind: Flow\n".repeat(20_000);
    let files = [("bad.yaml", nameless.as_str()), ("good.yaml", GOOD)];
    let defined = read(tree(&files), "default");
    assert_eq!(defined.problems.len(), 21);
    assert!(defined.problems[20].message.contains("the rest of this file"));
    assert!(defined.flows.contains_key("good") && !defined.knows(Some("bad.yaml")));

    let fields: Vec<String> = (0..20_000).map(|number| format!("  k{number}: 1\n")).collect();
    let fields = fields.concat();
    assert_eq!(problems(&[("f.yaml", &format!("{GOOD}{fields}"))]).len(), 20);
}

#[test]
fn more_flows_than_a_repository_may_define_are_told_once_and_nothing_counts_as_gone() {
    let flows: Vec<String> = (0..2_002)
        .map(|number| format!("---\n{}", GOOD.replace("good", &format!("flow-{number}"))))
        .collect();
    let many = flows.concat();
    let defined = read(tree(&[("many.yaml", &many), ("z.yaml", GOOD)]), "default");
    assert_eq!(defined.flows.len(), 2_000);
    assert_eq!(defined.problems.len(), 1, "{:?}", defined.problems);
    let problem = &defined.problems[0];
    assert!(
        problem.message.contains("more than 2000 flows") && problem.line.is_some(),
        "{problem:?}"
    );
    assert!(!defined.knows(None) && !defined.knows(Some("elsewhere.yaml")));
}

#[test]
fn aliases_that_make_far_too_much_of_a_file_are_told_by_their_place() {
    let bomb = format!(
        "apiVersion: signoff.dev/v1alpha1\na: &a [{}]\nb: [{}]\n",
        "x,".repeat(5_000),
        "*a,".repeat(5_000)
    );
    let files = [("bomb.yaml", bomb.as_str()), ("good.yaml", GOOD)];
    let told = problems(&files);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("bomb.yaml:2:")
            && told[0].contains(" b[")
            && told[0].ends_with("the aliases make far too much of this text"),
        "{told:?}"
    );
    assert!(read(tree(&files), "default").flows.contains_key("good"));
}

#[test]
fn files_whose_names_differ_in_case_only_are_both_read_and_told_apart() {
    let defined = read(tree(&[("Flow.yaml", GOOD), ("flow.yaml", GOOD)]), "default");
    assert_eq!(defined.flows["good"].place.path, "Flow.yaml");
    assert_eq!(
        (
            defined.problems[0].path.as_str(),
            defined.problems[0].message.as_str()
        ),
        (
            "flow.yaml",
            "metadata.name: a flow named \"good\" is defined in Flow.yaml already"
        )
    );
}

#[test]
fn an_expression_that_is_nested_too_deeply_is_told_by_its_place() {
    let deep = format!("{}1{}", "[".repeat(1_000), "]".repeat(1_000));
    let told = problems(&[("f.yaml", &GOOD.replace("x: 1", &format!("x: '${{{deep}}}'")))]);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("f.yaml:7:11 ") && told[0].contains("nested too deeply"),
        "{told:?}"
    );
}

#[test]
fn a_link_or_a_submodule_is_a_problem_only_where_a_flow_was_read_before() {
    let mut tree = tree(&[("good.yaml", GOOD)]);
    let why = "it is a submodule, and submodules are not followed";
    tree.passed_over = vec![("vendor".to_owned(), Some(why)), ("link.yaml".to_owned(), None)];
    let defined = read(tree, "default");
    assert_eq!(defined.problems, []);
    assert!(defined.knows_all() && defined.lost("gone.yaml").is_none());
    let told = defined.lost("vendor/flows/a.yaml").unwrap();
    assert!(told[0].message.ends_with(why), "{told:?}");
    assert!(defined.lost("link.yaml").is_some());
}

#[test]
fn a_flow_with_a_job_is_read_only_where_the_repository_allows_it() {
    let job = |name: &str, account: &str| {
        format!(
            "apiVersion: signoff.dev/v1alpha1\nkind: Flow\nmetadata: {{name: {name}}}\nspec:\n  steps:\n  - name: one\n    job:\n      image: app:1\n{account}"
        )
    };
    let (plain, named) = (job("plain", ""), job("named", "      serviceAccount: tester\n"));
    let files = [
        ("good.yaml", GOOD),
        ("plain.yaml", &*plain),
        ("named.yaml", &*named),
    ];
    let read_with = |allowed: Option<RepositoryJobs>| {
        let mut defined = read(tree(&files), "default");
        refuse_jobs(&mut defined, allowed.as_ref());
        let names: Vec<String> = defined.flows.keys().cloned().collect();
        let told: Vec<String> = defined
            .problems
            .iter()
            .map(|problem| {
                format!(
                    "{}:{} {}",
                    problem.path,
                    problem.line.unwrap_or_default(),
                    problem.message
                )
            })
            .collect();
        (names, told, defined.knows(Some("plain.yaml")))
    };
    let (names, told, knows) = read_with(None);
    assert_eq!(names, ["good"]);
    assert_eq!(told.len(), 2);
    assert!(
        told.iter()
            .any(|told| told
                .starts_with("plain.yaml:7 spec.steps[0].job: this Repository allows no job steps")),
        "{told:?}"
    );
    assert!(!knows, "the flow stays as it is");
    let (names, told, _) = read_with(Some(RepositoryJobs::default()));
    assert_eq!(names, ["good", "plain"]);
    assert!(told[0].contains("does not list tester"), "{told:?}");
    let listed = vec!["tester".parse().unwrap()];
    let (names, told, knows) = read_with(Some(RepositoryJobs {
        service_accounts: Some(listed),
    }));
    assert_eq!((names.len(), told.len(), knows), (3, 0, true));
}
