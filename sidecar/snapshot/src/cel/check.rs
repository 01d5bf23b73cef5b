//! A syntax tree becomes nodes with known types, or a sentence that says what is wrong with it.

use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use ipnet::IpNet;

use super::function::{SIGNATURES, Style};
use super::node::{Comparison, Comprehension, Node, Operator, Scalar, Type};
use super::parse::Tree;
use super::variable::{Map, Variable};
use super::{InvalidCel, MOST_DEPTH, Moment};
use crate::expression;

/// Functions that take more than plain values.
const SPECIAL: [&str; 10] =
    ["size", "has", "matches", "cidr", "containsIP", "exists", "all", "exists_one", "filter", "map"];

type Checked = Result<(Node, Type), InvalidCel>;

/// The nodes of a tree, the type of its value, and what it asks for.
pub(super) fn check(tree: &Tree, moment: Moment) -> Result<(Node, Type, BTreeSet<Variable>), InvalidCel> {
    let mut checker = Checker { tree, moment, element: None, asked: BTreeSet::new(), depth: 0 };
    let (node, of) = checker.check(&tree.root)?;
    Ok((node, of, checker.asked))
}

struct Checker<'t> {
    tree: &'t Tree,
    moment: Moment,
    /// The variable of the comprehension whose body is read.
    element: Option<(&'t str, Scalar)>,
    asked: BTreeSet<Variable>,
    depth: u16,
}

impl<'t> Checker<'t> {
    fn check(&mut self, part: &'t IdedExpr) -> Checked {
        // The parser bounds brackets, not chains: `a.b.c`.
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(self.refuse(part, format!("the expression is nested deeper than {MOST_DEPTH}")));
        }
        let checked = match &part.expr {
            Expr::Literal(literal) => self.literal(part, literal),
            Expr::Ident(name) => self.identifier(part, name),
            Expr::Select(select) => self.select(part, select),
            Expr::Call(call) => self.call(part, call),
            Expr::List(list) => self.list(part, &list.elements),
            Expr::Map(_) | Expr::Struct(_) => Err(self.refuse(part, "a map or message cannot be made here")),
            Expr::Comprehension(_) | Expr::Unspecified => Err(self.refuse(part, "this cannot be read")),
        };
        self.depth -= 1;
        checked
    }

    fn literal(&self, part: &IdedExpr, literal: &LiteralValue) -> Checked {
        Ok(match literal {
            LiteralValue::Boolean(value) => (Node::Bool(*value.inner()), Scalar::Bool.into()),
            LiteralValue::Int(number) => (Node::Int(*number.inner()), Scalar::Int.into()),
            LiteralValue::String(text) => (Node::Constant(text.inner().to_owned()), Scalar::Text.into()),
            LiteralValue::UInt(_) => return Err(self.refuse(part, "numbers are ints here: leave out the u")),
            LiteralValue::Double(_) => return Err(self.refuse(part, "numbers are ints here: write no fraction")),
            LiteralValue::Bytes(_) => return Err(self.refuse(part, "there are no bytes here: write a string")),
            LiteralValue::Null => {
                let sentence = "nothing is ever null here: ask `'name' in request.headers` whether something is there";
                return Err(self.refuse(part, sentence));
            }
        })
    }

    fn identifier(&mut self, part: &IdedExpr, name: &str) -> Checked {
        match self.element {
            Some((element, of)) if element == name => Ok((Node::Element, of.into())),
            Some(_) | None => self.variable(part, name),
        }
    }

    fn select(&mut self, part: &'t IdedExpr, select: &'t SelectExpr) -> Checked {
        let SelectExpr { operand, field, test: _ } = select;
        let is_element = |name: &str| self.element.is_some_and(|(element, _)| element == name);
        match &operand.expr {
            Expr::Ident(root) if !is_element(root) => self.variable(operand, &format!("{root}.{field}")),
            _ => match self.check(operand)? {
                (Node::Names(map), Type::Map(_)) => Ok(entry(map, Node::Constant(field.clone()))),
                (_, of) => Err(self.refuse(part, format!("{of} has no field `{field}`"))),
            },
        }
    }

    fn variable(&mut self, part: &IdedExpr, name: &str) -> Checked {
        let Some(variable) = Variable::ALL.into_iter().find(|variable| variable.name() == name) else {
            let known = Variable::ALL.into_iter().filter(|variable| variable.exists(self.moment));
            let known: Vec<&str> = known.map(Variable::name).collect();
            return Err(self.refuse(part, format!("`{name}` is not known; there is {}", known.join(", "))));
        };
        if !variable.exists(self.moment) {
            return Err(self.refuse(part, format!("`{name}` is not known before the answer; use it in `count`")));
        }
        self.asked.insert(variable);
        Ok(match variable {
            Variable::Text(text) => (Node::Text(text), Scalar::Text.into()),
            Variable::Number(number) => (Node::Number(number), Scalar::Int.into()),
            Variable::Map(map) => (Node::Names(map), Type::Map(map)),
        })
    }

    fn list(&mut self, part: &'t IdedExpr, items: &'t [IdedExpr]) -> Checked {
        let mut nodes = Vec::with_capacity(items.len());
        let mut common = None;
        for item in items {
            let (node, of) = self.scalar(item)?;
            if common.is_some_and(|common| common != of) {
                return Err(self.refuse(item, "the items of a list are of one type"));
            }
            common = Some(of);
            nodes.push(node);
        }
        let Some(of) = common else { return Err(self.refuse(part, "an empty list says nothing")) };
        Ok((Node::List(nodes), Type::List(of)))
    }

    fn call(&mut self, part: &'t IdedExpr, call: &'t CallExpr) -> Checked {
        let CallExpr { func_name, target, args } = call;
        match (func_name.as_str(), target.as_deref(), args.as_slice()) {
            (operators::LOGICAL_NOT, None, [side]) => {
                Ok((Node::Not(Box::new(self.of(side, Scalar::Bool)?)), Scalar::Bool.into()))
            }
            (operators::NEGATE, None, [side]) => {
                Ok((Node::Negate(Box::new(self.of(side, Scalar::Int)?)), Scalar::Int.into()))
            }
            (operators::LOGICAL_AND, None, [left, right]) => {
                let sides = Box::new([self.of(left, Scalar::Bool)?, self.of(right, Scalar::Bool)?]);
                Ok((Node::And(sides), Scalar::Bool.into()))
            }
            (operators::LOGICAL_OR, None, [left, right]) => {
                let sides = Box::new([self.of(left, Scalar::Bool)?, self.of(right, Scalar::Bool)?]);
                Ok((Node::Or(sides), Scalar::Bool.into()))
            }
            (operators::CONDITIONAL, None, [condition, then, otherwise]) => self.choice(condition, then, otherwise),
            (operators::INDEX, None, [of, index]) => self.index(of, index),
            (operators::IN, None, [item, among]) => self.among(item, among),
            ("has", None, [field]) => self.has(field),
            ("size", None, [of]) | ("size", Some(of), []) => self.size(of),
            ("matches", Some(text), [pattern]) => self.matches(text, pattern),
            ("containsIP", Some(network), [address]) => self.is_within(network, address),
            (name, None, [left, right]) if comparison(name).is_some() || operator(name).is_some() => {
                self.two_sides(part, name, left, right)
            }
            (name, Some(range), [variable, body]) => match comprehension(name) {
                Some(comprehension) => self.comprehension(part, comprehension, range, variable, body),
                None => self.function(part, name, target.as_deref(), args),
            },
            (name, target, args) => self.function(part, name, target, args),
        }
    }

    fn two_sides(&mut self, part: &'t IdedExpr, name: &str, left: &'t IdedExpr, right: &'t IdedExpr) -> Checked {
        let ((left, one), (right, other)) = (self.check(left)?, self.check(right)?);
        let sides = Box::new([left, right]);
        if let Some(comparison) = comparison(name) {
            let has_order = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
            return match (one, other) {
                (Type::Scalar(Scalar::Bool), Type::Scalar(Scalar::Bool)) if has_order => {
                    Err(self.refuse(part, "bools have no order"))
                }
                (Type::Scalar(one), Type::Scalar(other)) if one == other => {
                    Ok((Node::Compare(comparison, sides), Scalar::Bool.into()))
                }
                (Type::Scalar(_) | Type::List(_) | Type::Map(_), _) => {
                    Err(self.refuse(part, format!("{one} cannot be compared to {other}")))
                }
            };
        }
        let Some(operator) = operator(name) else { return Err(self.refuse(part, "this cannot be read")) };
        match (one, other, operator) {
            (Type::Scalar(Scalar::Int), Type::Scalar(Scalar::Int), _) => {
                Ok((Node::Arithmetic(operator, sides), Scalar::Int.into()))
            }
            (Type::Scalar(Scalar::Text), Type::Scalar(Scalar::Text), Operator::Add) => {
                Ok((Node::Arithmetic(operator, sides), Scalar::Text.into()))
            }
            (Type::Scalar(_) | Type::List(_) | Type::Map(_), _, _) => {
                let sign = name.trim_matches('_');
                Err(self.refuse(part, format!("`{sign}` is not known between {one} and {other}")))
            }
        }
    }

    fn choice(&mut self, condition: &'t IdedExpr, then: &'t IdedExpr, otherwise: &'t IdedExpr) -> Checked {
        let condition = self.of(condition, Scalar::Bool)?;
        let (first, of) = self.value(then)?;
        let (second, other) = self.value(otherwise)?;
        if of != other {
            return Err(self.refuse(otherwise, format!("this is {other}, and in the other case there is {of}")));
        }
        Ok((Node::If(Box::new([condition, first, second])), of))
    }

    fn index(&mut self, of: &'t IdedExpr, index: &'t IdedExpr) -> Checked {
        match self.check(of)? {
            (Node::Names(map), Type::Map(_)) => Ok(entry(map, self.of(index, Scalar::Text)?)),
            (list, Type::List(item)) => {
                let index = self.of(index, Scalar::Int)?;
                Ok((Node::At(Box::new([list, index])), item.into()))
            }
            (_, found) => Err(self.refuse(of, format!("{found} has no parts to ask for"))),
        }
    }

    fn among(&mut self, item: &'t IdedExpr, among: &'t IdedExpr) -> Checked {
        let (node, of) = self.scalar(item)?;
        match (self.check(among)?, of) {
            ((Node::Names(map), Type::Map(_)), Scalar::Text) => {
                Ok((Node::HasEntry(map, Box::new(node)), Scalar::Bool.into()))
            }
            ((list, Type::List(items)), of) if items == of => {
                Ok((Node::IsAmong(Box::new([node, list])), Scalar::Bool.into()))
            }
            ((_, found), of) => Err(self.refuse(among, format!("{} cannot be in {found}", Type::from(of)))),
        }
    }

    /// `has(request.headers.name)`.
    fn has(&mut self, field: &'t IdedExpr) -> Checked {
        if matches!(field.expr, Expr::Select(_))
            && let (Node::Entry(map, name), _) = self.check(field)?
        {
            return Ok((Node::HasEntry(map, name), Scalar::Bool.into()));
        }
        Err(self.refuse(field, "`has` takes a name in a map: has(request.headers.origin)"))
    }

    fn size(&mut self, of: &'t IdedExpr) -> Checked {
        match self.check(of)? {
            (node, Type::Scalar(Scalar::Text) | Type::List(_) | Type::Map(_)) => {
                Ok((Node::Size(Box::new(node)), Scalar::Int.into()))
            }
            (_, found) => Err(self.refuse(of, format!("{found} has no size"))),
        }
    }

    fn matches(&mut self, text: &'t IdedExpr, pattern: &'t IdedExpr) -> Checked {
        let text = self.of(text, Scalar::Text)?;
        let Node::Constant(written) = self.of(pattern, Scalar::Text)? else {
            return Err(self.refuse(pattern, "write the pattern itself, as a string"));
        };
        let compiled = expression::compile(&written).map_err(|error| self.refuse(pattern, format!("this {error}")))?;
        Ok((Node::Matches(Box::new(text), compiled), Scalar::Bool.into()))
    }

    /// `cidr('10.0.0.0/8').containsIP(client.ip)`.
    fn is_within(&mut self, network: &'t IdedExpr, address: &'t IdedExpr) -> Checked {
        let sentence = "`containsIP` is called on a network: cidr('10.0.0.0/8').containsIP(client.ip)";
        let Expr::Call(CallExpr { func_name, target: None, args }) = &network.expr else {
            return Err(self.refuse(network, sentence));
        };
        let ("cidr", [written]) = (func_name.as_str(), args.as_slice()) else {
            return Err(self.refuse(network, sentence));
        };
        let Node::Constant(text) = self.of(written, Scalar::Text)? else {
            return Err(self.refuse(written, "write the network itself, as a string"));
        };
        let Ok(network) = text.parse::<IpNet>() else {
            return Err(self.refuse(written, format!("\"{text}\" is no network; write 10.0.0.0/8 for instance")));
        };
        let address = self.of(address, Scalar::Text)?;
        Ok((Node::IsWithin(Box::new(address), network), Scalar::Bool.into()))
    }

    fn comprehension(
        &mut self,
        part: &'t IdedExpr,
        comprehension: Comprehension,
        range: &'t IdedExpr,
        variable: &'t IdedExpr,
        body: &'t IdedExpr,
    ) -> Checked {
        if self.element.is_some() {
            return Err(self.refuse(part, "exists, all, exists_one, filter and map cannot be used inside each other"));
        }
        let Expr::Ident(variable_name) = &variable.expr else {
            return Err(self.refuse(variable, "a name for the element has to stand here"));
        };
        let (range, item) = match self.check(range)? {
            (node, Type::List(item)) => (node, item),
            (node, Type::Map(_)) => (node, Scalar::Text),
            (_, found) => return Err(self.refuse(range, format!("{found} has no elements"))),
        };
        self.element = Some((variable_name, item));
        let checked = match comprehension {
            Comprehension::Exists | Comprehension::All | Comprehension::ExistsOne => {
                self.of(body, Scalar::Bool).map(|body| (body, Scalar::Bool.into()))
            }
            Comprehension::Filter => self.of(body, Scalar::Bool).map(|body| (body, Type::List(item))),
            Comprehension::Map => self.scalar(body).map(|(body, of)| (body, Type::List(of))),
        };
        self.element = None;
        let (body, gives) = checked?;
        Ok((Node::Comprehension(comprehension, Box::new([range, body])), gives))
    }

    /// A function of plain values.
    fn function(
        &mut self,
        part: &'t IdedExpr,
        name: &str,
        target: Option<&'t IdedExpr>,
        arguments: &'t [IdedExpr],
    ) -> Checked {
        let style = if target.is_some() { Style::OnValue } else { Style::Alone };
        if !SPECIAL.contains(&name) && SIGNATURES.iter().all(|signature| signature.name != name) {
            let mut known: Vec<&str> = SIGNATURES.iter().map(|signature| signature.name).chain(SPECIAL).collect();
            known.sort_unstable();
            known.dedup();
            return Err(self.refuse(part, format!("there is no function `{name}`; there is {}", known.join(", "))));
        }
        let (mut nodes, mut types) = (Vec::new(), Vec::new());
        for argument in target.into_iter().chain(arguments) {
            let (node, of) = self.check(argument)?;
            nodes.push(node);
            types.push(of);
        }
        let fits = |takes: &[Scalar]| takes.iter().map(|scalar| Type::from(*scalar)).eq(types.iter().copied());
        let signature = SIGNATURES
            .iter()
            .find(|signature| signature.name == name && signature.style == style && fits(signature.takes));
        match signature {
            Some(signature) => Ok((Node::Call(signature.function, nodes), signature.gives)),
            None => Err(self.refuse(part, format!("`{name}` is not called like this, on values of these types"))),
        }
    }

    /// A part that has to be of this type.
    fn of(&mut self, part: &'t IdedExpr, wanted: Scalar) -> Result<Node, InvalidCel> {
        let (node, found) = self.check(part)?;
        let wanted = Type::from(wanted);
        if found == wanted {
            Ok(node)
        } else {
            Err(self.refuse(part, format!("this is {found}, and has to be {wanted}")))
        }
    }

    /// A part that has to be one thing.
    fn scalar(&mut self, part: &'t IdedExpr) -> Result<(Node, Scalar), InvalidCel> {
        match self.check(part)? {
            (node, Type::Scalar(scalar)) => Ok((node, scalar)),
            (_, found) => Err(self.refuse(part, format!("this is {found}, and has to be a string, an int or a bool"))),
        }
    }

    /// A part that has to be a value.
    fn value(&mut self, part: &'t IdedExpr) -> Checked {
        match self.check(part)? {
            (_, Type::Map(_)) => Err(self.refuse(part, "a map can only be asked for a name, counted or gone through")),
            checked => Ok(checked),
        }
    }

    fn refuse(&self, part: &IdedExpr, sentence: impl Into<String>) -> InvalidCel {
        InvalidCel { position: self.tree.position(part.id), sentence: sentence.into() }
    }
}

fn entry(map: Map, name: Node) -> (Node, Type) {
    (Node::Entry(map, Box::new(name)), Scalar::Text.into())
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        operators::ADD => Operator::Add,
        operators::SUBSTRACT => Operator::Subtract,
        operators::MULTIPLY => Operator::Multiply,
        operators::DIVIDE => Operator::Divide,
        operators::MODULO => Operator::Remainder,
        _ => return None,
    })
}

fn comprehension(name: &str) -> Option<Comprehension> {
    Some(match name {
        operators::EXISTS => Comprehension::Exists,
        operators::ALL => Comprehension::All,
        operators::EXISTS_ONE => Comprehension::ExistsOne,
        operators::FILTER => Comprehension::Filter,
        operators::MAP => Comprehension::Map,
        _ => return None,
    })
}
