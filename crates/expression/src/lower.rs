//! From the parser's tree to ours: macros become nodes again, names are resolved, functions are found.

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr as Parsed, IdedEntryExpr, ListExpr, LiteralValue,
        SelectExpr, SourceInfo, StructExpr, operators,
    },
};

use crate::{
    ast::{Binary, Comprehension, Entry, Expr, Literal, MacroKind, Node},
    check::suggest::did_you_mean,
    error::ParseError,
    library::Library,
    types::Type,
};

/// The tree of an expression that may call the functions of a library.
pub(crate) fn lower(tree: IdedExpr, source: &SourceInfo, library: &Library) -> Result<Expr, ParseError> {
    let mut lowering = Lowering {
        library,
        source,
        offset: 0,
        bound: Vec::new(),
    };
    lowering.expr(tree)
}

struct Lowering<'a> {
    library: &'a Library,
    source: &'a SourceInfo,
    /// Where the part begins that is being lowered.
    offset: usize,
    bound: Vec<String>,
}

type Lowered = Result<Node, ParseError>;

impl Lowering<'_> {
    fn expr(&mut self, tree: IdedExpr) -> Result<Expr, ParseError> {
        let around = self.offset;
        // parts that come from expanding a macro are nowhere in the text
        let start = self.source.offset_for(tree.id).map(|(start, _)| start);
        let offset = start
            .and_then(|start| usize::try_from(start).ok())
            .unwrap_or(around);
        self.offset = offset;
        let node = self.node(tree)?;
        self.offset = around;
        Ok(Expr { node, offset })
    }

    fn node(&mut self, tree: IdedExpr) -> Lowered {
        match tree.expr {
            Parsed::Unspecified => Err(self.problem("syntax error")),
            Parsed::Literal(literal) => Ok(Node::Literal(constant(literal))),
            Parsed::Ident(name) => Ok(self.name(&name)),
            Parsed::Select(select) => self.select(select),
            Parsed::List(list) => self.list(list),
            Parsed::Map(map) => self.map(map.entries),
            Parsed::Struct(message) => self.message(message),
            Parsed::Call(call) => self.call(call),
            Parsed::Comprehension(comprehension) => self.comprehension(*comprehension),
        }
    }

    fn problem(&self, message: impl Into<String>) -> ParseError {
        ParseError {
            offset: self.offset,
            message: message.into(),
        }
    }

    fn boxed(&mut self, tree: IdedExpr) -> Result<Box<Expr>, ParseError> {
        self.expr(tree).map(Box::new)
    }

    fn name(&self, name: &str) -> Node {
        // a dot in front leaves out what macros bind
        let (name, is_absolute) = match name.strip_prefix('.') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let slot = self.bound.iter().rposition(|bound| bound == name);
        if let Some(slot) = slot.filter(|_| !is_absolute) {
            return Node::Local {
                name: name.to_owned(),
                slot,
            };
        }
        match Type::named(name) {
            Some(type_) => Node::Type(type_),
            None => Node::Variable(name.to_owned()),
        }
    }

    fn select(&mut self, select: SelectExpr) -> Lowered {
        if !select.test
            && let Some(mut name) = self.qualified(&select.operand)
        {
            name.push('.');
            name.push_str(&select.field);
            if let Some(type_) = Type::named(&name) {
                return Ok(Node::Type(type_));
            }
        }
        let operand = self.boxed(*select.operand)?;
        let field = select.field;
        Ok(if select.test {
            Node::Has { operand, field }
        } else {
            Node::Select {
                operand,
                field,
                optional: false,
            }
        })
    }

    /// The name that a tree spells, unless a macro binds its first part.
    fn qualified(&self, tree: &IdedExpr) -> Option<String> {
        match &tree.expr {
            Parsed::Ident(name) if !self.bound.contains(name) => Some(name.clone()),
            Parsed::Select(select) if !select.test => {
                let mut name = self.qualified(&select.operand)?;
                name.push('.');
                name.push_str(&select.field);
                Some(name)
            }
            _ => None,
        }
    }

    fn list(&mut self, list: ListExpr) -> Lowered {
        let optional = list.optional_indices;
        let items = list.elements.into_iter().enumerate();
        let items = items.map(|(index, item)| Ok((self.expr(item)?, optional.contains(&index))));
        Ok(Node::List(items.collect::<Result<_, ParseError>>()?))
    }

    fn map(&mut self, entries: Vec<IdedEntryExpr>) -> Lowered {
        let entries = entries.into_iter().map(|entry| match entry.expr {
            EntryExpr::MapEntry(entry) => Ok(Entry {
                key: self.expr(entry.key)?,
                value: self.expr(entry.value)?,
                optional: entry.optional,
            }),
            EntryExpr::StructField(field) => Err(self.problem(format!("unexpected field {}", field.field))),
        });
        Ok(Node::Map(entries.collect::<Result<_, ParseError>>()?))
    }

    /// A message of the host is the map of its fields.
    fn message(&mut self, message: StructExpr) -> Lowered {
        let name = message.type_name;
        let Some(known) = self.library.message(&name) else {
            return Err(self.problem(format!("messages cannot be made: {name}")));
        };
        let entries = message.entries.into_iter().map(|entry| match entry.expr {
            EntryExpr::StructField(entry) if known.fields.contains(&entry.field.as_str()) => Ok(Entry {
                key: Expr {
                    node: Node::Literal(Literal::String(entry.field)),
                    offset: self.offset,
                },
                value: self.expr(entry.value)?,
                optional: entry.optional,
            }),
            EntryExpr::StructField(entry) => {
                Err(self.problem(format!("{name} has no field {}", entry.field)))
            }
            EntryExpr::MapEntry(_) => Err(self.problem(format!("{name} has fields, not entries"))),
        });
        Ok(Node::Message(entries.collect::<Result<_, ParseError>>()?))
    }

    fn call(&mut self, call: CallExpr) -> Lowered {
        let name = call.func_name;
        let Some(target) = call.target else {
            return self.operator_or_function(&name, call.args);
        };
        if let Some(mut qualified) = self.qualified(&target) {
            qualified.push('.');
            qualified.push_str(&name);
            if let Some(overloads) = self.library.find(&qualified, false, call.args.len()) {
                let arguments = self.all(call.args)?;
                return Ok(Node::Call { overloads, arguments });
            }
        }
        if let Some((kind, names, has_filter)) = macro_of(&name, call.args.len()) {
            return self.macro_call(kind, names, has_filter, *target, call.args);
        }
        let mut arguments = vec![*target];
        arguments.extend(call.args);
        let Some(overloads) = self.library.find(&name, true, arguments.len()) else {
            return Err(self.unknown(&name, true));
        };
        let arguments = self.all(arguments)?;
        Ok(Node::Call { overloads, arguments })
    }

    fn all(&mut self, trees: Vec<IdedExpr>) -> Result<Vec<Expr>, ParseError> {
        trees.into_iter().map(|tree| self.expr(tree)).collect()
    }

    fn operator_or_function(&mut self, name: &str, arguments: Vec<IdedExpr>) -> Lowered {
        let count = arguments.len();
        let mut arguments = arguments.into_iter();
        let missing = self.problem("an operand is missing");
        let mut next = || arguments.next().ok_or_else(|| missing.clone());
        let binary = match name {
            operators::ADD => Binary::Add,
            operators::SUBSTRACT => Binary::Subtract,
            operators::MULTIPLY => Binary::Multiply,
            operators::DIVIDE => Binary::Divide,
            operators::MODULO => Binary::Modulo,
            operators::EQUALS => Binary::Equal,
            operators::NOT_EQUALS => Binary::NotEqual,
            operators::LESS => Binary::Less,
            operators::LESS_EQUALS => Binary::LessOrEqual,
            operators::GREATER => Binary::Greater,
            operators::GREATER_EQUALS => Binary::GreaterOrEqual,
            operators::IN => Binary::In,
            operators::LOGICAL_AND => return Ok(Node::And(self.boxed(next()?)?, self.boxed(next()?)?)),
            operators::LOGICAL_OR => return Ok(Node::Or(self.boxed(next()?)?, self.boxed(next()?)?)),
            operators::LOGICAL_NOT => return Ok(Node::Not(self.boxed(next()?)?)),
            operators::NEGATE => return Ok(Node::Negate(self.boxed(next()?)?)),
            operators::CONDITIONAL => {
                let parts = [self.expr(next()?)?, self.expr(next()?)?, self.expr(next()?)?];
                return Ok(Node::Conditional(Box::new(parts)));
            }
            operators::INDEX | operators::OPT_INDEX => {
                return Ok(Node::Index {
                    operand: self.boxed(next()?)?,
                    index: self.boxed(next()?)?,
                    optional: name == operators::OPT_INDEX,
                });
            }
            operators::OPT_SELECT => {
                let operand = self.boxed(next()?)?;
                let Parsed::Literal(LiteralValue::String(field)) = next()?.expr else {
                    return Err(self.problem("a field is selected by its name"));
                };
                return Ok(Node::Select {
                    operand,
                    field: field.into_inner(),
                    optional: true,
                });
            }
            _ => {
                let plain = name.strip_prefix('.').unwrap_or(name);
                let Some(overloads) = self.library.find(plain, false, count) else {
                    return Err(self.unknown(plain, false));
                };
                let arguments = self.all(arguments.collect())?;
                return Ok(Node::Call { overloads, arguments });
            }
        };
        Ok(Node::Binary(binary, self.boxed(next()?)?, self.boxed(next()?)?))
    }

    fn unknown(&self, name: &str, is_method: bool) -> ParseError {
        let what = if is_method { "method" } else { "function" };
        self.problem(if self.library.has(name, is_method) {
            format!("{what} {name} does not take that many arguments")
        } else {
            let alike = self
                .library
                .functions()
                .filter(|function| function.is_method == is_method);
            let meant = did_you_mean(name, alike.map(|function| &*function.name));
            format!("there is no {what} {name}{meant}")
        })
    }

    /// A macro that the parser leaves as a call.
    fn macro_call(
        &mut self,
        kind: MacroKind,
        names: usize,
        has_filter: bool,
        target: IdedExpr,
        arguments: Vec<IdedExpr>,
    ) -> Lowered {
        let mut arguments = arguments.into_iter();
        let mut bound = Vec::new();
        for argument in arguments.by_ref().take(names) {
            match argument.expr {
                Parsed::Ident(name) if !name.starts_with('.') && !bound.contains(&name) => bound.push(name),
                _ => return Err(self.problem("a macro binds simple names, each once")),
            }
        }
        let filter = if has_filter { arguments.next() } else { None };
        let body = arguments
            .next()
            .ok_or_else(|| self.problem("an argument is missing"))?;
        self.bind(kind, target, bound, filter, body)
    }

    fn bind(
        &mut self,
        kind: MacroKind,
        range: IdedExpr,
        names: Vec<String>,
        filter: Option<IdedExpr>,
        body: IdedExpr,
    ) -> Lowered {
        let range = self.expr(range)?;
        let before = self.bound.len();
        self.bound.extend(names.iter().cloned());
        let filter = filter.map(|filter| self.expr(filter)).transpose();
        let body = self.expr(body);
        self.bound.truncate(before);
        Ok(Node::Macro(Box::new(Comprehension {
            kind,
            range,
            names,
            filter: filter?,
            body: body?,
        })))
    }

    /// A macro that the parser has expanded. What it expands to says which one it was.
    fn comprehension(&mut self, parsed: ComprehensionExpr) -> Lowered {
        let unexpected = self.problem("unexpected comprehension");
        let Parsed::Call(step) = parsed.loop_step.expr else {
            return Err(unexpected);
        };
        let mut arguments = step.args.into_iter();
        let (first, second, third) = (arguments.next(), arguments.next(), arguments.next());
        let (kind, filter, body) = match (step.func_name.as_str(), first, second, third) {
            (operators::LOGICAL_AND, _, Some(body), None) => (MacroKind::All, None, body),
            (operators::LOGICAL_OR, _, Some(body), None) => (MacroKind::Exists, None, body),
            (operators::ADD, _, Some(item), None) => (
                MacroKind::Map,
                None,
                only_item(item).ok_or_else(|| unexpected.clone())?,
            ),
            (operators::CONDITIONAL, Some(condition), Some(then), Some(_)) => {
                let Parsed::Call(then) = then.expr else {
                    return Err(unexpected);
                };
                let item = then.args.into_iter().nth(1).ok_or_else(|| unexpected.clone())?;
                if matches!(&item.expr, Parsed::Literal(_)) {
                    (MacroKind::ExistsOne, None, condition)
                } else {
                    // `filter(x, p)` is `map(x, p, x)`
                    (
                        MacroKind::Map,
                        Some(condition),
                        only_item(item).ok_or_else(|| unexpected.clone())?,
                    )
                }
            }
            _ => return Err(unexpected),
        };
        let mut names = vec![parsed.iter_var];
        names.extend(parsed.iter_var2);
        self.bind(kind, parsed.iter_range, names, filter, body)
    }
}

fn only_item(list: IdedExpr) -> Option<IdedExpr> {
    match list.expr {
        Parsed::List(list) => list.elements.into_iter().next(),
        _ => None,
    }
}

/// A macro, how many names it binds, and whether it has a filter.
fn macro_of(name: &str, arguments: usize) -> Option<(MacroKind, usize, bool)> {
    Some(match (name, arguments) {
        ("all", 3) => (MacroKind::All, 2, false),
        ("exists", 3) => (MacroKind::Exists, 2, false),
        ("existsOne" | "exists_one", 3) => (MacroKind::ExistsOne, 2, false),
        ("transformList", 3) => (MacroKind::Map, 2, false),
        ("transformList", 4) => (MacroKind::Map, 2, true),
        ("transformMap", 3) => (MacroKind::TransformMap, 2, false),
        ("transformMap", 4) => (MacroKind::TransformMap, 2, true),
        ("transformMapEntry", 3) => (MacroKind::TransformMapEntry, 2, false),
        ("transformMapEntry", 4) => (MacroKind::TransformMapEntry, 2, true),
        ("sortBy", 2) => (MacroKind::SortBy, 1, false),
        ("optMap", 2) => (MacroKind::OptMap, 1, false),
        ("optFlatMap", 2) => (MacroKind::OptFlatMap, 1, false),
        _ => return None,
    })
}

fn constant(literal: LiteralValue) -> Literal {
    match literal {
        LiteralValue::Null => Literal::Null,
        LiteralValue::Boolean(truth) => Literal::Bool(truth.into_inner()),
        LiteralValue::Int(int) => Literal::Int(int.into_inner()),
        LiteralValue::UInt(uint) => Literal::Uint(uint.into_inner()),
        LiteralValue::Double(double) => Literal::Double(double.into_inner()),
        LiteralValue::String(text) => Literal::String(text.into_inner()),
        LiteralValue::Bytes(bytes) => Literal::Bytes(bytes.into_inner().into()),
    }
}
