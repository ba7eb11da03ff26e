//! From an expression to one that is typed, bounded, and whose only names are what is known of the answer.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::parser::PrattParser;
use serde_json_path::JsonPath;

use super::rewrite::Written;
use super::{Conjunct, Leaf, Source};

/// How deep an expression may nest.
const MAX_DEPTH: u16 = 32;
/// How many operators, names and values it may have.
const MAX_NODES: usize = 200;
/// What a pattern may take in memory.
const MAX_PATTERN_BYTES: usize = 1 << 20;
const MAX_PATH_BYTES: usize = 200;

/// What is known of a value before there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Bool,
    Number,
    Text,
    Duration,
    List,
    /// Whatever the JSON says.
    Any,
}

/// Reads a part of an assertion.
pub(super) fn conjunct(Written { text, cel }: Written) -> Result<Conjunct, String> {
    let parser = PrattParser::new().max_recursion_depth(MAX_DEPTH).max_expression_node_count(MAX_NODES);
    let parsed = parser.parse(&cel);
    let mut expr = parsed.map_err(|errors| {
        let first = errors.errors.first().map_or("cannot be read", |error| error.msg.as_str());
        let hint = if first.contains("input '='") { "; compare with ==" } else { "" };
        format!("{first}{hint}")
    })?;
    let mut lowering = Lowering { leaves: vec![], scope: vec![] };
    let kind = lowering.lower(&mut expr)?;
    if !matches!(kind, Type::Bool | Type::Any) {
        return Err(format!("is {}, not something that holds or does not", kind.name()));
    }
    if lowering.leaves.is_empty() {
        return Err("says nothing of the answer".to_owned());
    }
    Ok(Conjunct { text, expr, leaves: lowering.leaves })
}

struct Lowering {
    leaves: Vec<Leaf>,
    /// Names of the list that is walked.
    scope: Vec<String>,
}

impl Lowering {
    fn lower(&mut self, expr: &mut IdedExpr) -> Result<Type, String> {
        match &mut expr.expr {
            Expr::Literal(literal) => {
                // The language keeps whole numbers and others apart; nobody who writes `* 2` means that.
                if let LiteralValue::Int(number) = literal {
                    #[expect(
                        clippy::cast_precision_loss,
                        reason = "beyond 2⁵³ a comparison may be off by one in 10¹⁵"
                    )]
                    let number = number.into_inner() as f64;
                    *literal = LiteralValue::Double(number.into());
                }
                Ok(match literal {
                    LiteralValue::Boolean(_) => Type::Bool,
                    LiteralValue::Int(_) | LiteralValue::Double(_) => Type::Number,
                    LiteralValue::String(_) => Type::Text,
                    LiteralValue::Null => Type::Any,
                    LiteralValue::Bytes(_) => {
                        return Err("bytes cannot be compared with anything here".to_owned());
                    }
                    LiteralValue::UInt(_) => return Err("write numbers without `u`".to_owned()),
                })
            }
            Expr::Ident(name) => {
                if self.scope.contains(name) {
                    return Ok(Type::Any);
                }
                let (source, kind) = named(name)?;
                if matches!(source, Source::Body) && !self.scope.is_empty() {
                    return Err("`body` cannot be looked at once for each element of a list".to_owned());
                }
                let text = name.clone();
                expr.expr = self.leaf(text, source);
                Ok(kind)
            }
            Expr::Select(select) => {
                let operand = self.lower(&mut select.operand)?;
                if operand != Type::Any {
                    return Err(format!("{} has no `.{}`", operand.name(), select.field));
                }
                Ok(if select.test { Type::Bool } else { Type::Any })
            }
            Expr::List(list) => {
                for element in &mut list.elements {
                    self.lower(element)?;
                }
                Ok(Type::List)
            }
            Expr::Call(call) => {
                if let Some((source, text, kind)) = function(call)? {
                    expr.expr = match source {
                        Called::Leaf(source) => self.leaf(text, source),
                        Called::Milliseconds(millis) => Expr::Literal(LiteralValue::Double(millis.into())),
                    };
                    return Ok(kind);
                }
                // Whole numbers where the language wants them: to pick from a list.
                let picks = (call.func_name == operators::INDEX).then(|| call.args.last().cloned()).flatten();
                let kind = self.call(call)?;
                if let Some(IdedExpr { expr: literal @ Expr::Literal(LiteralValue::Int(_)), .. }) = picks
                    && let Some(last) = call.args.last_mut()
                {
                    last.expr = literal;
                }
                if call.func_name == "size" {
                    let sized = IdedExpr { id: expr.id, expr: Expr::Call(std::mem::take(call)) };
                    expr.expr = Expr::Call(CallExpr {
                        func_name: "double".to_owned(),
                        target: None,
                        args: vec![sized],
                    });
                }
                Ok(kind)
            }
            Expr::Comprehension(walk) => {
                if !self.scope.is_empty() {
                    return Err("a list cannot be walked for each element of another".to_owned());
                }
                let range = self.lower(&mut walk.iter_range)?;
                if !matches!(range, Type::List | Type::Any) {
                    return Err(format!("{} is no list", range.name()));
                }
                self.scope =
                    [Some(walk.iter_var.clone()), walk.iter_var2.clone(), Some(walk.accu_var.clone())]
                        .into_iter()
                        .flatten()
                        .collect();
                for part in [&mut walk.accu_init, &mut walk.loop_cond, &mut walk.loop_step, &mut walk.result]
                {
                    self.lower(part)?;
                }
                self.scope.clear();
                Ok(Type::Any)
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err("cannot be read: {…} has no meaning here".to_owned())
            }
        }
    }

    /// What stands for something that is known of the answer.
    fn leaf(&mut self, text: String, source: Source) -> Expr {
        let name = format!("leaf_{}", self.leaves.len());
        self.leaves.push(Leaf { text, name: name.clone(), source });
        Expr::Ident(name)
    }

    fn call(&mut self, call: &mut CallExpr) -> Result<Type, String> {
        let target = call.target.as_deref_mut().map(|target| self.lower(target)).transpose()?;
        let arguments: Result<Vec<Type>, String> =
            call.args.iter_mut().map(|argument| self.lower(argument)).collect();
        let arguments = arguments?;
        let is = |kind: Type, wanted: Type| kind == wanted || kind == Type::Any;
        let name = call.func_name.as_str();
        match (name, target, arguments.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, None, sides) => match sides
                .iter()
                .find(|side| !is(**side, Type::Bool))
            {
                Some(side) => Err(format!("{} does not hold or not: compare it with something", side.name())),
                None => Ok(Type::Bool),
            },
            (operators::LOGICAL_NOT | operators::NOT_STRICTLY_FALSE, None, [side])
                if is(*side, Type::Bool) =>
            {
                Ok(Type::Bool)
            }
            (operators::EQUALS | operators::NOT_EQUALS, None, [left, right]) => {
                alike(*left, *right).map(|_| Type::Bool)
            }
            (
                operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS,
                None,
                [left, right],
            ) => match alike(*left, *right)? {
                kind @ (Type::Bool | Type::List) => Err(format!("{} is neither less nor more", kind.name())),
                _ => Ok(Type::Bool),
            },
            (operators::CONDITIONAL, None, [condition, left, right]) if is(*condition, Type::Bool) => {
                alike(*left, *right)
            }
            (operators::IN, None, [_, list]) if is(*list, Type::List) => Ok(Type::Bool),
            (operators::INDEX, None, [list, _]) if is(*list, Type::List) => Ok(Type::Any),
            (operators::NEGATE, None, [kind]) if is(*kind, Type::Number) => Ok(Type::Number),
            (operators::ADD | operators::SUBSTRACT, None, [left, right]) => match alike(*left, *right)? {
                kind @ (Type::Number | Type::Duration | Type::Any) => Ok(kind),
                // Of a list that is walked, as the library writes it.
                Type::List if !self.scope.is_empty() => Ok(Type::List),
                kind => Err(format!("{} cannot be added to another", kind.name())),
            },
            (operators::MULTIPLY | operators::DIVIDE, None, [left, right]) if is(*right, Type::Number) => {
                match left {
                    Type::Number | Type::Duration | Type::Any => Ok(*left),
                    kind => Err(format!("{} cannot be multiplied or divided", kind.name())),
                }
            }
            ("contains" | "startsWith" | "endsWith", Some(text), [part])
                if is(text, Type::Text) && is(*part, Type::Text) =>
            {
                Ok(Type::Bool)
            }
            ("matches", Some(text), [_]) if is(text, Type::Text) => {
                pattern(&call.args[0]).map(|()| Type::Bool)
            }
            ("size", target, sized) => match (target, sized) {
                (Some(kind), []) | (None, &[kind]) if is(kind, Type::Text) || is(kind, Type::List) => {
                    Ok(Type::Number)
                }
                _ => Err(misused(name, target, sized)),
            },
            ("double", None, [kind]) if is(*kind, Type::Number) || is(*kind, Type::Text) => Ok(Type::Number),
            ("string", None, [kind]) if is(*kind, Type::Number) => Ok(Type::Text),
            (operators::OPT_INDEX | operators::OPT_SELECT, ..) => {
                Err("`?` is for choices, as in `a ? b : c`".to_owned())
            }
            (name, target, arguments) => Err(misused(name, target, arguments)),
        }
    }
}

enum Called {
    Leaf(Source),
    Milliseconds(f64),
}

fn named(name: &str) -> Result<(Source, Type), String> {
    Ok(match name {
        "status" => (Source::Status, Type::Number),
        "body" => (Source::Body, Type::Text),
        "latency" => (Source::Latency, Type::Duration),
        "dns" => (Source::Dns, Type::Duration),
        "connect" => (Source::Connect, Type::Duration),
        "tls" => (Source::Tls, Type::Duration),
        "first_byte" => (Source::FirstByte, Type::Duration),
        "certificate_days" => (Source::CertificateDays, Type::Number),
        other => {
            return Err(format!(
                "`{other}` is not known: use status, latency, body, header(\"name\"), json(\"$.path\"), \
                 certificate_days, dns, connect, tls or first_byte"
            ));
        }
    })
}

/// Our own functions: what they are called with is written out, so that it can be checked now.
fn function(call: &CallExpr) -> Result<Option<(Called, String, Type)>, String> {
    let name = call.func_name.as_str();
    if call.target.is_some() || !matches!(name, "header" | "json" | "duration") {
        return Ok(None);
    }
    let argument = match call.args.as_slice() {
        [IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }] => text.inner().to_owned(),
        _ => return Err(format!("{name}(…) takes one text in quotes")),
    };
    let text = format!("{name}(\"{argument}\")");
    let called = match name {
        "header" => (Called::Leaf(Source::Header(argument.to_ascii_lowercase())), Type::Text),
        "json" => (Called::Leaf(json(&argument)?), Type::Any),
        _ => {
            let millis = milliseconds(&argument)
                .ok_or_else(|| format!("`{argument}` is not a duration: use 300ms, 2s, 5m, 1h or 1d"))?;
            (Called::Milliseconds(millis), Type::Duration)
        }
    };
    Ok(Some((called.0, text, called.1)))
}

fn json(path: &str) -> Result<Source, String> {
    if path.len() > MAX_PATH_BYTES {
        return Err(format!("a path must have at most {MAX_PATH_BYTES} characters"));
    }
    // Each of them multiplies what is looked at.
    if path.matches("..").count() > 1 || path.matches('?').count() > 1 {
        return Err(format!("`{path}` has more than one `..` or `?`"));
    }
    let parsed = JsonPath::parse(path).map_err(|error| {
        format!("`{path}` is not a JSON path: {} (they begin with `$`, as in `$.queue`)", error.message())
    })?;
    let finds_several = path.contains(['*', '?', ':', ',']) || path.contains("..");
    Ok(Source::Json { path: parsed, finds_several })
}

fn milliseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let number: f64 = text[..unit].parse().ok()?;
    let factor = match &text[unit..] {
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 60e3,
        "h" => 3_600e3,
        "d" => 86_400e3,
        _ => return None,
    };
    Some(number * factor).filter(|millis| millis.is_finite())
}

fn pattern(argument: &IdedExpr) -> Result<(), String> {
    let Expr::Literal(LiteralValue::String(pattern)) = &argument.expr else {
        return Err("a pattern is a text in quotes".to_owned());
    };
    let built = regex::RegexBuilder::new(pattern.inner()).size_limit(MAX_PATTERN_BYTES).build();
    built.map(drop).map_err(|error| {
        let last =
            error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        format!("the pattern cannot be used: {last}")
    })
}

fn alike(left: Type, right: Type) -> Result<Type, String> {
    match (left, right) {
        (Type::Any, other) | (other, Type::Any) => Ok(other),
        (left, right) if left == right => Ok(left),
        (Type::Duration, Type::Number) | (Type::Number, Type::Duration) => {
            Err("a duration needs a unit: 300ms, 2s or 5m".to_owned())
        }
        (left, right) => Err(format!("{} cannot be compared with {}", left.name(), right.name())),
    }
}

fn misused(name: &str, target: Option<Type>, arguments: &[Type]) -> String {
    let operator = name.trim_matches('_').trim_start_matches('@');
    let kinds: Vec<_> = target.iter().chain(arguments).map(|kind| kind.name()).collect();
    format!("`{operator}` is not known for {}", kinds.join(" and "))
}

impl Type {
    const fn name(self) -> &'static str {
        match self {
            Self::Bool => "a yes or no",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::Duration => "a duration",
            Self::List => "a list",
            Self::Any => "a value",
        }
    }
}
