//! What is accepted, what it means, and that nothing panics.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A request and its answer.
#[derive(Default)]
struct World {
    texts: BTreeMap<Text, String>,
    numbers: BTreeMap<Number, i64>,
    maps: BTreeMap<Map, BTreeMap<String, String>>,
}

impl Variables for World {
    fn text(&self, variable: Text) -> Option<Cow<'_, str>> {
        self.texts.get(&variable).map(|text| Cow::Borrowed(text.as_str()))
    }

    fn number(&self, variable: Number) -> Option<i64> {
        self.numbers.get(&variable).copied()
    }

    fn entry(&self, map: Map, name: &str) -> Option<Cow<'_, str>> {
        self.maps.get(&map)?.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn names(&self, map: Map) -> Vec<Cow<'_, str>> {
        self.maps.get(&map).into_iter().flat_map(BTreeMap::keys).map(|name| Cow::Borrowed(name.as_str())).collect()
    }
}

/// A login from 192.0.2.7 that was answered with 401. Where the client is nobody knows.
fn login() -> World {
    let map =
        |entries: &[(&str, &str)]| entries.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    World {
        texts: BTreeMap::from([
            (Text::Method, "POST".into()),
            (Text::Scheme, "https".into()),
            (Text::Host, "shop.example.com".into()),
            (Text::Path, "/login/Ünder/7".into()),
            (Text::ClientIp, "192.0.2.7".into()),
            (Text::Version, "v2".into()),
        ]),
        numbers: BTreeMap::from([(Number::Size, 12), (Number::Status, 401)]),
        maps: BTreeMap::from([
            (Map::Query, map(&[("next", "/cart"), ("empty", "")])),
            (Map::Headers, map(&[("x-tier", "gold"), ("content-length", "12"), ("x-list", "a,b,c")])),
            (Map::Cookies, map(&[("session", "one,two")])),
            (Map::ResponseHeaders, map(&[("x-cost", "7")])),
        ]),
    }
}

#[track_caller]
fn check(text: &str, expected: Result<bool, Failure>) {
    let condition = Condition::new(text, Moment::Answer).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(condition.holds(&login()), expected, "{text}");
}

#[track_caller]
fn check_key(text: &str, expected: Result<&str, Failure>) {
    let expression = KeyExpression::new(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(expression.value(&login()).as_deref(), expected.as_ref().map(|text| *text), "{text}");
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let error = Condition::new(text, Moment::Request).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn conditions_of_the_contract_hold_for_the_requests_that_they_mean() {
    check("request.path.startsWith('/login') && request.method == 'POST'", Ok(true));
    check("client.ip == '192.0.2.7'", Ok(true));
    check("response.status == 401", Ok(true));
    check_key("request.path", Ok("/login/Ünder/7"));
}

#[test]
fn what_a_request_has_can_be_asked_for() {
    check("request.scheme == 'https' && request.host.endsWith('.example.com') && version == 'v2'", Ok(true));
    check("request.headers['x-tier'] == 'gold' && request.headers.host != ''", Err(Failure::NoSuchName(Map::Headers)));
    check("'x-tier' in request.headers && !('x-other' in request.headers)", Ok(true));
    check("has(request.query.next) && !has(request.query.other) && has(request.query.empty)", Ok(true));
    check("request.cookies.session.contains('two') && size(request.query) == 2", Ok(true));
    check("response.headers['x-cost'] == '7' && request.size == 12", Ok(true));
    check("cidr('192.0.2.0/24').containsIP(client.ip) && !cidr('2001:db8::/32').containsIP(client.ip)", Ok(true));
}

#[test]
fn operators_and_functions_give_what_cel_says() {
    check("1 + 2 * 3 - 4 / 3 % 5 == 6 && -7 / 2 == -3 && -7 % 2 == -1", Ok(true));
    check("'a' < 'b' && 'a' <= 'a' && 2 > 1 && 2 >= 3 == false && true != false", Ok(true));
    check("(request.size > 10 ? 'large' : 'small') == 'large'", Ok(true));
    check("request.method in ['PUT', 'POST'] && !(3 in [1, 2])", Ok(true));
    check("'a' + 'b' == 'ab' && 'abc'.size() == 3 && size('Ü') == 1 && [1, 2][1] == 2", Ok(true));
    check("'AbÜ'.lowerAscii() == 'abÜ' && 'ab'.upperAscii() == 'AB' && ' a\\t'.trim() == 'a'", Ok(true));
    check("request.path.split('/')[1] == 'login' && 'ab'.split('').size() == 2", Ok(true));
    check("'Über'.substring(1) == 'ber' && 'Über'.substring(0, 2) == 'Üb' && 'a'.substring(1) == ''", Ok(true));
    check("int('12') == 12 && string(-3) == '-3' && string(true) == 'true' && string('a') == 'a'", Ok(true));
    check("request.path.matches('^/log(in|out)/') && !request.path.matches('^login')", Ok(true));
}

#[test]
fn comprehensions_go_through_lists_and_names() {
    check("request.headers['x-list'].split(',').exists(x, x == 'b')", Ok(true));
    check("[1, 2, 3].all(x, x > 0) && [1, 2, 3].exists_one(x, x > 2) && ![1].exists(x, x > 1)", Ok(true));
    check("[1, 2, 3].filter(x, x > 1).map(x, x * 2) .all(y, y in [4, 6])", Ok(true));
    check("request.headers.exists(name, name.startsWith('x-') && request.headers[name] == 'gold')", Ok(true));
    check("['request'].exists(request, request.startsWith('req'))", Ok(true));
}

#[test]
fn a_side_that_decides_forgives_the_failure_of_the_other_one() {
    let failure = Err(Failure::NoSuchName(Map::Headers));
    check("request.headers['x'] == 'a'", failure);
    check("request.headers['x'] == 'a' || true", Ok(true));
    check("request.headers['x'] == 'a' || false", failure);
    check("false && request.headers['x'] == 'a'", Ok(false));
    check("request.headers['x'] == 'a' && false", Ok(false));
    check("[0, 1].exists(x, 1 / x == 1)", Ok(true));
    check("[0, 1].all(x, 1 / x == 2)", Ok(false));
    check("[0, 1].all(x, 1 / x == 1)", Err(Failure::DividedByZero));
}

#[test]
fn what_has_no_value_says_why() {
    check("client.country == 'DE'", Err(Failure::Unknown(Variable::Text(Text::Country))));
    check("client.asn == 1", Err(Failure::Unknown(Variable::Number(Number::Asn))));
    check("9223372036854775807 + request.size > 0", Err(Failure::Overflow));
    check("-9223372036854775808 / (request.size - 13) > 0", Err(Failure::Overflow));
    check("-(-9223372036854775808 + request.size - 12) > 0", Err(Failure::Overflow));
    check("1 % (request.size - 12) == 0", Err(Failure::DividedByZero));
    check("request.path.split('/')[request.size] == ''", Err(Failure::OutOfRange));
    check("[1][-request.size] == 1", Err(Failure::OutOfRange));
    check("'abc'.substring(2, 1) == ''", Err(Failure::OutOfRange));
    check("'abc'.substring(4) == ''", Err(Failure::OutOfRange));
    check("int(request.path) == 1", Err(Failure::NotAnInt));
    check("cidr('10.0.0.0/8').containsIP(request.path)", Err(Failure::NotAnAddress));
}

#[test]
fn the_value_of_a_key_is_text() {
    check_key("request.path.split('/')[1]", Ok("login"));
    check_key("request.size / 5", Ok("2"));
    check_key("request.method == 'GET'", Ok("false"));
    check_key("request.cookies['other']", Err(Failure::NoSuchName(Map::Cookies)));
    let error = KeyExpression::new("request.path.split('/')").unwrap_err();
    assert_eq!(error.to_string(), "the expression gives a list of strings, and has to give a string, an int or a bool");
}

#[test]
fn a_mistake_is_told_with_its_place() {
    for (text, expected) in [
        ("", "the expression is empty"),
        ("request.path.startsWith('/login'", "character 33: missing ')' at the end"),
        ("request.path ==", "character 16: the expression ends too early"),
        ("request.path = 'a'", "character 14: '= ' is not expected here"),
        ("'Ü' == 'Ü' && request.pfad == 'x'", "character 15: `request.pfad` is not known; there is "),
        ("true &&\n  nothing", "line 2, character 3: `nothing` is not known; there is "),
        ("response.status == 401", "character 1: `response.status` is not known before the answer; use it in `count`"),
        ("request.path", "the expression gives a string, and has to give a bool"),
        ("request.path == 1", "character 14: a string cannot be compared to an int"),
        ("request.headers == request.query", "character 17: a map cannot be compared to a map"),
        ("true < false", "character 6: bools have no order"),
        ("request.path + 1 == ''", "character 14: `+` is not known between a string and an int"),
        ("request.path.begins('/')", "character 20: there is no function `begins`; there is "),
        ("request.path.startsWith(1)", "character 24: `startsWith` is not called like this, on values of these types"),
        ("1u == 1", "character 1: numbers are ints here: leave out the u"),
        ("1.5 > 1", "character 1: numbers are ints here: write no fraction"),
        ("{'a': 1}['a'] == 1", "character 1: a map or message cannot be made here"),
        ("request.headers['x'] == null", "character 25: nothing is ever null here: ask "),
        ("request.path.matches(request.host)", "character 29: write the pattern itself, as a string"),
        ("request.path.matches('(')", "character 22: this is no regular expression in RE2 syntax: unclosed group"),
        ("cidr('10.0.0/8').containsIP(client.ip)", "character 6: \"10.0.0/8\" is no network; write 10.0.0.0/8 for"),
        ("[1].exists(x, [2].exists(y, x == y))", "character 25: exists, all, exists_one, filter and map cannot be "),
        ("has(request.path)", "character 12: `has` takes a name in a map: has(request.headers.origin)"),
        ("[1, 'a'].exists(x, x == 1)", "character 5: the items of a list are of one type"),
        ("request.path ? true : false", "character 8: this is a string, and has to be a bool"),
        ("request.path.length == 1", "character 13: a string has no field `length`"),
        ("[].exists(x, true)", "character 1: an empty list says nothing"),
    ] {
        let error = Condition::new(text, Moment::Request).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}\n{error}\n{expected}");
    }
}

#[test]
fn an_expression_beyond_a_bound_is_refused() {
    let long = format!("request.path == '{}'", "ü".repeat(MOST_CHARACTERS - 18));
    assert_eq!(long.chars().count(), MOST_CHARACTERS);
    assert!(Condition::new(&long, Moment::Request).is_ok());
    check_refused(&format!("{long} "), "the expression has 1025 characters, and may have 1024");
    let nested = format!("{}true{}", "(".repeat(40), ")".repeat(40));
    check_refused(&nested, "character 34: the expression is nested deeper than 32");
    let chain = format!("1{} == 1", " + 1".repeat(40));
    assert!(Condition::new(&chain, Moment::Request).unwrap_err().sentence.ends_with("nested deeper than 32"));
}

#[test]
fn an_evaluation_that_costs_too_much_fails() {
    let mut world = login();
    world.texts.insert(Text::Path, "/".repeat(60_000));
    for text in
        ["request.path.split('/').all(x, x == '')", "!request.path.split('').exists(x, request.path.contains('a'))"]
    {
        let condition = Condition::new(text, Moment::Request).unwrap();
        assert_eq!(condition.holds(&world), Err(Failure::TooCostly), "{text}");
    }
}

#[test]
fn it_is_known_what_an_expression_asks_for() {
    let condition =
        Condition::new("client.country == 'DE' || request.headers.x == client.ip", Moment::Request).unwrap();
    let expected = [Variable::Text(Text::ClientIp), Variable::Text(Text::Country), Variable::Map(Map::Headers)];
    assert_eq!(condition.variables(), &BTreeSet::from(expected));
}

/// Pieces that texts are made of: what the language has, and what it has not.
fn any_piece() -> impl Strategy<Value = String> {
    let pieces = [
        "request",
        ".path",
        ".headers",
        ".query",
        "client.ip",
        "response.status",
        "version",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ".",
        ",",
        "?",
        ":",
        "'a'",
        "\"",
        "'",
        "'''",
        "r'\\'",
        "b'a'",
        "'\\u00",
        "'\\U0011FFFF'",
        "'\\400'",
        "1",
        "2u",
        "1.5",
        "1e999",
        "9223372036854775808",
        "0x1f",
        "-",
        "!",
        "+",
        "*",
        "/",
        "%",
        "&&",
        "||",
        "==",
        "!=",
        "<",
        ">=",
        " in ",
        "has(",
        "size(",
        ".exists(x, ",
        ".map(",
        ".all(",
        "x",
        ".startsWith(",
        ".split(",
        ".matches(",
        "cidr(",
        ".containsIP(",
        "true",
        "null",
        "`a`",
        "?.",
        "[?",
        "//",
        "\n",
        "é",
        "\u{1F600}",
        "\0",
        "as",
        "break",
    ];
    prop_oneof![8 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => any::<String>()]
}

/// Expressions of type string, int and bool that are accepted.
fn any_condition() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("request.path == '/login/Ünder/7'".to_owned()),
        Just("request.headers['x-tier'] == 'gold'".to_owned()),
        Just("request.headers['gone'] == 'gold'".to_owned()),
        Just("'x-tier' in request.headers".to_owned()),
        Just("has(request.query.next)".to_owned()),
        Just("size(request.query) == 2".to_owned()),
        Just("request.cookies.session.contains('two')".to_owned()),
        Just("request.path.matches('in/')".to_owned()),
        Just("int(request.headers['content-length']) > 3".to_owned()),
        Just("int(request.path) > 3".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        (any_number(), prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]), any_number())
            .prop_map(|(left, comparison, right)| format!("{left} {comparison} {right}")),
        (prop::sample::select(vec!["exists", "all", "exists_one"]), any_number(), any_number())
            .prop_map(|(name, one, other)| format!("[{one}, {other}, 1].{name}(x, 6 / x > 2)")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|side| format!("!({side})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) && ({right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) || ({right})")),
            (inner.clone(), inner.clone(), inner)
                .prop_map(|(one, two, three)| format!("(({one}) ? ({two}) : ({three}))")),
        ]
    })
}

fn any_number() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("request.size".to_owned()),
        Just("response.status".to_owned()),
        Just("size(request.path)".to_owned()),
        Just("9223372036854775807".to_owned()),
        (-3i64..4).prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%"]), inner)
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"))
    })
}

/// What the interpreter of the crate `cel` says, which takes every value beforehand. Nothing: it fails.
fn elsewhere(text: &str, world: &World) -> Option<bool> {
    let map = |map: Map| world.maps[&map].clone().into_iter().collect::<std::collections::HashMap<String, String>>();
    let value = |map: std::collections::HashMap<String, ::cel::Value>| ::cel::Value::from(map);
    let mut context = ::cel::Context::default();
    let request = std::collections::HashMap::from([
        ("path".to_owned(), ::cel::Value::from(world.texts[&Text::Path].clone())),
        ("size".to_owned(), ::cel::Value::from(world.numbers[&Number::Size])),
        ("query".to_owned(), ::cel::Value::from(map(Map::Query))),
        ("headers".to_owned(), ::cel::Value::from(map(Map::Headers))),
        ("cookies".to_owned(), ::cel::Value::from(map(Map::Cookies))),
    ]);
    let response =
        std::collections::HashMap::from([("status".to_owned(), ::cel::Value::from(world.numbers[&Number::Status]))]);
    context.add_variable_from_value("request", value(request));
    context.add_variable_from_value("response", value(response));
    match ::cel::Program::compile(text).unwrap().execute(&context) {
        Ok(::cel::Value::Bool(value)) => Some(value),
        Ok(_) | Err(_) => None,
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_check_or_the_evaluation_panic(pieces in prop::collection::vec(any_piece(), 0..24)) {
        let text = pieces.concat();
        for moment in [Moment::Request, Moment::Answer] {
            if let Ok(condition) = Condition::new(&text, moment) {
                prop_assert_ne!(condition.holds(&login()), Err(Failure::Mistyped), "{}", text);
                prop_assert_ne!(condition.holds(&World::default()), Err(Failure::Mistyped), "{}", text);
            }
        }
        if let Ok(expression) = KeyExpression::new(&text) {
            prop_assert_ne!(expression.value(&login()).map(drop), Err(Failure::Mistyped), "{}", text);
        }
    }

    #[test]
    fn a_condition_means_what_another_interpreter_says(text in any_condition()) {
        let condition = Condition::new(&text, Moment::Answer).unwrap();
        let world = login();
        prop_assert_eq!(condition.holds(&world).ok(), elsewhere(&text, &world), "{}", text);
    }
}
