//! Which user of the cluster an account of the forge is.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    cluster::behalf::Person,
    forge::{Account, AccountKind, Actor, Login},
};
use signoff_api::repository::{Identities, MappedIdentity};
use signoff_engine::expression::{EvaluationError, Expression, Scope};

/// Begins the names that Kubernetes keeps for itself.
const RESERVED: &str = "system:";

/// A user of the cluster, as an expression gives one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    user: String,
    #[serde(default)]
    groups: Vec<String>,
}

/// Why an account decides nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum NobodyReason {
    /// A program's.
    #[error("it is an account of a program, and programs decide nothing")]
    Program,
    /// Nobody said who it is.
    #[error("`spec.identities` of the Repository does not say which user of the cluster it is")]
    Unmapped,
    /// The account cannot be looked up.
    #[error(
        "the forge does not show this account to the operator, and `spec.identities` of the Repository does not name it with its `id`, {0}"
    )]
    Hidden(u64),
    /// The login is another account's than the one that did it, or that the table means.
    #[error("the login {login:?} is now that of the account {is}, and not of {was}: somebody else has it")]
    AnotherAccount {
        /// The login.
        login: String,
        /// The number of the account that has it.
        is: u64,
        /// The number of the one that is meant.
        was: u64,
    },
    /// The account of that number goes by another login.
    #[error(
        "`spec.identities` of the Repository has the account {id} under the login {login:?}, which is not what it is called"
    )]
    Renamed {
        /// Its number.
        id: u64,
        /// The login in the table.
        login: String,
    },
    /// The expression fails, or gives something else than a user.
    #[error(
        "`spec.identities.expression` of the Repository does not tell which user of the cluster it is: {0}"
    )]
    Expression(String),
}

/// The account of somebody whom the forge shows to few. Where the table has the login with the number of who did it, that is enough.
pub(super) fn hidden(identities: Option<&Identities>, by: &Actor) -> Result<Account, NobodyReason> {
    let account = Account {
        login: by.login.clone(),
        id: by.id,
        kind: AccountKind::User,
        email: None,
    };
    let known = identities.and_then(|identities| listed(identities, &account));
    if known.and_then(id_of) == Some(by.id) {
        return Ok(account);
    }
    Err(NobodyReason::Hidden(by.id))
}

/// Whether it takes the groups of an account to tell who it is: asking for them takes rights of the token that the table does not need.
pub(super) fn needs_groups(identities: Option<&Identities>, account: &Account) -> bool {
    let asks = |identities: &Identities| {
        let expression = identities.expression.as_deref().unwrap_or_default();
        listed(identities, account).is_none() && expression.contains("groups")
    };
    identities.is_some_and(asks)
}

/// The user that somebody is who did something, given the account that has their login now, and its groups. The table goes before the expression. Service
/// accounts and other names that Kubernetes keeps for itself decide nothing here, and its groups are not lent to anybody.
pub(super) fn person(
    identities: Option<&Identities>,
    by: &Actor,
    account: &Account,
    groups: &[String],
) -> Result<Person, NobodyReason> {
    if account.id != by.id {
        return Err(another_account(account, by.id));
    }
    if account.kind == AccountKind::Bot {
        return Err(NobodyReason::Program);
    }
    lent(mapped(identities, account, groups)?)
}

/// The user that holds a key, by the key's name.
pub(super) fn holder(identities: Option<&Identities>, key: &str) -> Result<Person, NobodyReason> {
    let keys = identities.map(|identities| identities.keys.as_slice());
    let mut keys = keys.unwrap_or_default().iter();
    let known = keys
        .find(|known| known.key == key)
        .ok_or(NobodyReason::Unmapped)?;
    lent(Person {
        user: known.user.clone(),
        groups: known.groups.clone(),
    })
}

/// Without what Kubernetes keeps for itself.
fn lent(mut person: Person) -> Result<Person, NobodyReason> {
    if person.user.starts_with(RESERVED) {
        return Err(NobodyReason::Program);
    }
    person.groups.retain(|group| !group.starts_with(RESERVED));
    Ok(person)
}

/// What the table has on a login.
fn listed<'a>(identities: &'a Identities, account: &Account) -> Option<&'a MappedIdentity> {
    let mut users = identities.users.iter();
    users.find(|known| Login::new(&known.login) == account.login)
}

fn id_of(known: &MappedIdentity) -> Option<u64> {
    known.id.and_then(|id| u64::try_from(id).ok())
}

fn mapped(
    identities: Option<&Identities>,
    account: &Account,
    groups: &[String],
) -> Result<Person, NobodyReason> {
    let identities = identities.ok_or(NobodyReason::Unmapped)?;
    if let Some(known) = listed(identities, account) {
        if let Some(id) = id_of(known).filter(|id| *id != account.id) {
            return Err(another_account(account, id));
        }
        return Ok(Person {
            user: known.user.clone(),
            groups: known.groups.clone(),
        });
    }
    // the expression is for those that the table does not have
    if let Some(known) = identities
        .users
        .iter()
        .find(|known| id_of(known) == Some(account.id))
    {
        return Err(NobodyReason::Renamed {
            id: account.id,
            login: known.login.clone(),
        });
    }
    let expression = identities.expression.as_deref().ok_or(NobodyReason::Unmapped)?;
    let fails = |why: String| NobodyReason::Expression(why);
    match evaluate(expression, account, groups).map_err(|error| fails(error.to_string()))? {
        Value::Null => Err(NobodyReason::Unmapped),
        Value::String(user) if !user.is_empty() => Ok(Person {
            user,
            groups: Vec::new(),
        }),
        other => match serde_json::from_value::<Given>(other) {
            Ok(Given { user, groups }) if !user.is_empty() => Ok(Person { user, groups }),
            Ok(_) => Err(NobodyReason::Unmapped),
            Err(error) => Err(fails(format!(
                "it gives neither a name nor an object of user and groups: {error}"
            ))),
        },
    }
}

fn another_account(account: &Account, was: u64) -> NobodyReason {
    NobodyReason::AnotherAccount {
        login: account.login.to_string(),
        is: account.id,
        was,
    }
}

fn evaluate(expression: &str, account: &Account, groups: &[String]) -> Result<Value, EvaluationError> {
    let parsed = Expression::parse(expression).map_err(|problem| EvaluationError {
        message: problem.message,
        expression: expression.to_owned(),
        is_too_costly: false,
    })?;
    let mut scope = Scope::default();
    scope
        .set("login", json!(account.login.as_str()))
        // whole numbers of CEL have a sign, as those in an expression do
        .set("id", json!(i64::try_from(account.id).ok()))
        .set("email", json!(account.email))
        .set("groups", json!(groups));
    parsed.evaluate(&scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(login: &str) -> Account {
        Account {
            login: Login::new(login),
            id: 7,
            kind: AccountKind::User,
            email: Some(format!("{login}@example.com")),
        }
    }

    fn identities(value: Value) -> Identities {
        serde_json::from_value(value).unwrap()
    }

    fn by(account: &Account) -> Actor {
        Actor {
            login: account.login.clone(),
            id: account.id,
        }
    }

    fn user(identities: &Identities, account: &Account) -> Result<Person, String> {
        person(Some(identities), &by(account), account, &["acme/finance".into()])
            .map_err(|why| why.to_string())
    }

    fn alice(groups: &[&str]) -> Person {
        Person {
            user: "alice@example.com".into(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        }
    }

    #[test]
    fn the_table_names_a_user_whatever_the_case_of_the_login() {
        let table = identities(
            json!({"users": [{"login": "Alice", "user": "alice@example.com", "groups": ["finance"]}]}),
        );
        assert_eq!(user(&table, &account("alice")).unwrap(), alice(&["finance"]));
        assert!(
            user(&table, &account("mallory"))
                .unwrap_err()
                .contains("does not say")
        );
        let nobody = account("alice");
        assert!(person(None, &by(&nobody), &nobody, &[]).is_err());
    }

    #[test]
    fn a_login_that_somebody_else_has_taken_is_nobody() {
        let table = |id: i64| {
            identities(
                json!({"users": [{"login": "alice", "id": id, "user": "alice@example.com"}],
                "expression": "email"}),
            )
        };
        assert_eq!(user(&table(7), &account("Alice")).unwrap(), alice(&[]));
        let taken = user(&table(8), &account("alice")).unwrap_err();
        assert!(taken.contains("somebody else has it"), "{taken}");
        // nor does the expression say who that is whom the table has
        let renamed = user(&table(7), &account("alicia")).unwrap_err();
        assert!(
            renamed.contains("the account 7 under the login \"alice\""),
            "{renamed}"
        );
        // the account that did it gave its login to another one meanwhile
        let (done, now) = (
            by(&account("alice")),
            Account {
                id: 9,
                ..account("alice")
            },
        );
        let unlisted = identities(json!({"users": [{"login": "alice", "user": "alice@example.com"}]}));
        let why = person(Some(&unlisted), &done, &now, &[]).unwrap_err().to_string();
        assert!(why.contains("account 9, and not of 7"), "{why}");
    }

    #[test]
    fn an_account_that_the_forge_does_not_show_is_whom_the_table_has_by_number_or_nobody() {
        let done = by(&account("alice"));
        let table = |user: Value| identities(json!({"users": [user], "expression": "login"}));
        let known = table(json!({"login": "Alice", "id": 7, "user": "alice@example.com"}));
        let seen = hidden(Some(&known), &done).unwrap();
        assert_eq!(person(Some(&known), &done, &seen, &[]).unwrap(), alice(&[]));
        for nobody in [
            json!({"login": "alice", "user": "alice@example.com"}),
            json!({"login": "alice", "id": 8, "user": "alice@example.com"}),
            json!({"login": "bob", "id": 7, "user": "bob@example.com"}),
        ] {
            let why = hidden(Some(&table(nobody)), &done).unwrap_err().to_string();
            assert!(why.contains("does not show this account"), "{why}");
        }
        assert!(hidden(None, &done).is_err());
    }

    #[test]
    fn an_expression_names_those_whom_the_table_does_not() {
        let mapped =
            |expression: &str| user(&identities(json!({"expression": expression})), &account("alice"));
        assert_eq!(mapped("email").unwrap(), alice(&[]));
        assert_eq!(mapped("id == 7 ? email : null").unwrap(), alice(&[]));
        let whole = "{'user': email, 'groups': groups.map(g, g.split('/')[1])}";
        assert_eq!(mapped(whole).unwrap(), alice(&["finance"]));
        assert_eq!(
            mapped("'acme/finance' in groups ? email : null").unwrap(),
            alice(&[])
        );
        for nobody in ["null", "''", "{'user': ''}"] {
            assert!(mapped(nobody).is_err(), "{nobody}");
        }
        for wrong in ["7", "{'name': 'x'}", "login +", "nothing.there"] {
            let why = mapped(wrong).unwrap_err();
            assert!(why.contains("spec.identities.expression"), "{wrong}: {why}");
        }
    }

    #[test]
    fn groups_are_asked_for_only_where_the_expression_needs_them() {
        let by_team = "'acme/finance' in groups ? email : null";
        let listed = json!([{"login": "alice", "user": "alice@example.com"}]);
        for (identities_given, needed) in [
            (json!({"expression": by_team}), true),
            (json!({"expression": by_team, "users": listed}), false),
            (json!({"expression": "email"}), false),
            (json!({}), false),
        ] {
            let given = identities(identities_given);
            assert_eq!(needs_groups(Some(&given), &account("alice")), needed, "{given:?}");
        }
        assert!(!needs_groups(None, &account("alice")));
    }

    #[test]
    fn names_that_kubernetes_keeps_for_itself_are_not_lent() {
        let table = identities(json!({"users": [
            {"login": "agent", "user": "system:serviceaccount:shop:agent"},
            {"login": "alice", "user": "alice@example.com", "groups": ["system:masters", "finance"]},
        ]}));
        assert!(user(&table, &account("agent")).unwrap_err().contains("program"));
        assert_eq!(user(&table, &account("alice")).unwrap(), alice(&["finance"]));
    }

    #[test]
    fn a_key_is_who_holds_it_and_a_programs_is_nobodys() {
        let keys = identities(json!({"keys": [
            {"key": "alice", "user": "alice@example.com", "groups": ["finance", "system:masters"]},
            {"key": "bot", "user": "system:serviceaccount:shop:agent"},
        ]}));
        let of = |key: &str| holder(Some(&keys), key).map_err(|why| why.to_string());
        assert_eq!(of("alice").unwrap(), alice(&["finance"]));
        assert!(of("bot").unwrap_err().contains("program"));
        assert!(of("mallory").unwrap_err().contains("does not say"));
        assert!(holder(None, "alice").is_err());
    }

    #[test]
    fn an_account_of_a_program_is_nobody() {
        let table = identities(json!({"users": [{"login": "bot", "user": "alice@example.com"}]}));
        let bot = Account {
            kind: AccountKind::Bot,
            ..account("bot")
        };
        assert!(user(&table, &bot).unwrap_err().contains("program"));
    }
}
