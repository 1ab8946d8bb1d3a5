//! The functions: one table, which the evaluator calls and a checker of types can read.

pub(crate) mod cidr;
mod core;
mod encodings;
pub(crate) mod ip;
pub(crate) mod lists;
pub(crate) mod named_format;
mod optional;
pub(crate) mod patterns;
mod printf;
pub(crate) mod quantity;
mod regex;
pub(crate) mod semver;
mod sets;
mod strings;
pub(crate) mod time;
pub(crate) mod url;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    sync::{Arc, LazyLock},
};

use crate::{
    error::Error,
    evaluate::{Call, Evaluated, no_overload},
    types::Type,
    value::Value,
};

type Native = for<'a> fn(&mut Call<'_>, &[Value<'a>]) -> Evaluated<'a>;
type Foreign = Arc<dyn for<'a> Fn(&mut Call<'_>, &[Value<'a>]) -> Evaluated<'a> + Send + Sync>;

/// One overload of a function.
#[derive(Clone)]
pub struct Function {
    /// Its name; with its namespace, as in `sets.contains`.
    pub name: Cow<'static, str>,
    /// Whether it is called as a method, on its first parameter.
    pub is_method: bool,
    /// The types of its parameters.
    pub parameters: Cow<'static, [Type]>,
    /// The type of what it gives.
    pub result: Type,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Native(Native),
    Foreign(Foreign),
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.name)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

impl Function {
    /// A function of the host.
    pub fn host(
        name: &'static str,
        parameters: &'static [Type],
        result: Type,
        body: impl for<'a> Fn(&mut Call<'_>, &[Value<'a>]) -> Result<Value<'a>, Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: Cow::Borrowed(name),
            is_method: false,
            parameters: Cow::Borrowed(parameters),
            result,
            body: Body::Foreign(Arc::new(body)),
        }
    }

    /// The same as a method of its first parameter.
    #[must_use]
    pub fn into_method(self) -> Self {
        Self {
            is_method: true,
            ..self
        }
    }

    /// Whether it takes these arguments.
    pub(crate) fn takes(&self, arguments: &[Value<'_>]) -> bool {
        self.parameters.len() == arguments.len()
            && self
                .parameters
                .iter()
                .zip(arguments)
                .all(|(parameter, argument)| parameter.accepts(argument.type_of()))
    }

    pub(crate) fn call<'a>(&self, call: &mut Call<'_>, arguments: &[Value<'a>]) -> Evaluated<'a> {
        match &self.body {
            Body::Native(native) => native(call, arguments),
            Body::Foreign(foreign) => foreign(call, arguments),
        }
    }
}

const fn function(name: &'static str, parameters: &'static [Type], result: Type, native: Native) -> Function {
    Function {
        name: Cow::Borrowed(name),
        is_method: false,
        parameters: Cow::Borrowed(parameters),
        result,
        body: Body::Native(native),
    }
}

const fn method(name: &'static str, parameters: &'static [Type], result: Type, native: Native) -> Function {
    Function {
        name: Cow::Borrowed(name),
        is_method: true,
        parameters: Cow::Borrowed(parameters),
        result,
        body: Body::Native(native),
    }
}

/// A message that an expression can make, as in `Name{field: value}`. Its value is the map of the fields that are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The name of its type.
    pub name: &'static str,
    /// The names of its fields, which can have any type.
    pub fields: &'static [&'static str],
}

type Overloads = HashMap<(Cow<'static, str>, bool), Vec<(usize, Arc<[Function]>)>>;

/// The functions that an expression may call.
#[derive(Clone, Debug)]
pub struct Library {
    overloads: Arc<Overloads>,
    messages: Arc<[Message]>,
}

impl Default for Library {
    fn default() -> Self {
        Self::kubernetes()
    }
}

impl Library {
    /// Those of Kubernetes.
    pub fn kubernetes() -> Self {
        static KUBERNETES: LazyLock<Library> = LazyLock::new(|| Library::of(standard()));
        KUBERNETES.clone()
    }

    /// These and others of the host.
    #[must_use]
    pub fn with(&self, functions: impl IntoIterator<Item = Function>) -> Self {
        let known = self.functions().cloned();
        Self {
            messages: Arc::clone(&self.messages),
            ..Self::of(known.chain(functions).collect())
        }
    }

    /// The same with `json.decode`, `json.encode`, `base64.decode` and `base64.encode`, which Kubernetes does not have.
    #[must_use]
    pub fn with_encodings(&self) -> Self {
        self.with(encodings::FUNCTIONS.iter().cloned())
    }

    /// The same with messages of the host.
    #[must_use]
    pub fn with_messages(&self, messages: impl IntoIterator<Item = Message>) -> Self {
        let known = self.messages.iter().copied();
        Self {
            overloads: Arc::clone(&self.overloads),
            messages: known.chain(messages).collect(),
        }
    }

    fn of(functions: Vec<Function>) -> Self {
        let mut sorted: HashMap<(Cow<'static, str>, bool, usize), Vec<Function>> = HashMap::new();
        for function in functions {
            let key = (
                function.name.clone(),
                function.is_method,
                function.parameters.len(),
            );
            sorted.entry(key).or_default().push(function);
        }
        let mut overloads = Overloads::new();
        for ((name, is_method, count), functions) in sorted {
            let entry = overloads.entry((name, is_method)).or_default();
            entry.push((count, functions.into()));
        }
        Self {
            overloads: Arc::new(overloads),
            messages: Arc::default(),
        }
    }

    /// All functions, in no order.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.overloads
            .values()
            .flatten()
            .flat_map(|(_, functions)| functions.iter())
    }

    /// The overloads with so many arguments, of which a method's target is the first.
    pub(crate) fn find(&self, name: &str, is_method: bool, arguments: usize) -> Option<Arc<[Function]>> {
        let known = self.overloads.get(&(Cow::Owned(name.to_owned()), is_method))?;
        let found = known.iter().find(|(count, _)| *count == arguments);
        found.map(|(_, functions)| Arc::clone(functions))
    }

    pub(crate) fn message(&self, name: &str) -> Option<Message> {
        self.messages.iter().find(|message| message.name == name).copied()
    }

    pub(crate) fn has(&self, name: &str, is_method: bool) -> bool {
        self.overloads
            .contains_key(&(Cow::Owned(name.to_owned()), is_method))
    }
}

fn standard() -> Vec<Function> {
    let tables: [&[Function]; 14] = [
        core::FUNCTIONS,
        time::FUNCTIONS,
        strings::FUNCTIONS,
        printf::FUNCTIONS,
        lists::FUNCTIONS,
        sets::FUNCTIONS,
        regex::FUNCTIONS,
        optional::FUNCTIONS,
        ip::FUNCTIONS,
        cidr::FUNCTIONS,
        url::FUNCTIONS,
        quantity::FUNCTIONS,
        semver::FUNCTIONS,
        named_format::FUNCTIONS,
    ];
    tables.into_iter().flatten().cloned().collect()
}

/// For a function that is called with what it does not take.
fn unfit<T>(arguments: &[Value<'_>]) -> Result<T, Error> {
    Err(no_overload("a function", arguments))
}
