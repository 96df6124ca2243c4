//! A condition: what must be in an event for a webhook to want it, beside its type.
//!
//! It is JSON that people write, read once into a small tree. Asking it walks the payload's own text, so
//! that numbers are compared as they are written, however many digits they have.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::error::{Error, Result};
use super::event::Event;
use super::json::{depth, elements, is_empty_object, is_object, member, members, unescape};
use super::same::same_value;
use crate::policy::{
    CONDITION_BYTES_MAX, CONDITION_CHOICES_MAX, CONDITION_DEPTH_MAX, CONDITION_PATH_MAX,
    CONDITION_TESTS_MAX,
};

const FIELD: &str = "condition";
const OBJECT: [&str; 2] = ["data", "object"];
const PREVIOUS: [&str; 2] = ["data", "previousAttributes"];
const OPERATORS: &str = "$eq, $ne, $gt, $gte, $lt, $lte, $in, $exists, $startsWith, $changed, $and, $or, \
                         $not";

/// What must be in an event for a webhook to want it, beside its type.
///
/// An object whose keys are places in the payload: the names of attributes from the outside in, nested or
/// joined with dots. A value to compare with stands there, or operators:
///
/// | operator | holds where the attribute |
/// |---|---|
/// | `$eq`, or a plain value | is that value |
/// | `$ne` | is not that value, or is not there |
/// | `$gt` `$gte` `$lt` `$lte` | is a number (a string) that is greater (comes later), and so on |
/// | `$in` | is one of these values |
/// | `$exists` | is there (`true`, also as `null`), or is not (`false`) |
/// | `$startsWith` | is a string that begins with this |
/// | `$changed` | was changed by the event (`true`), or was not (`false`); in `data.object` alone |
/// | `$and` `$or` | all, or any, of these conditions hold here |
/// | `$not` | this condition does not hold here |
///
/// All that is said must hold. Where an array stands, one of its elements must do: a path leads into each
/// object among them, and a value is compared with the array and with each element. Values of different
/// kinds are never equal, and neither is before the other. Numbers are compared as decimals, to the last
/// digit; strings by their UTF-8 bytes, so that times in one format are in order.
///
/// The payload is the one that the event was published with, whatever version the webhook is pinned to.
///
/// ```
/// use tidings::{Account, Condition, Event, Timestamp};
///
/// let condition = Condition::parse(r#"{
///     "data.object": {"state": {"$changed": true}, "total": {"$gte": 29.90}},
///     "$or": [{"data.object.currency": "EUR"}, {"metadata.region": {"$in": ["de", "at"]}}]
/// }"#)?;
/// let event = |payload: &str| {
///     Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH)
/// };
/// let paid = r#"{"id": "0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10", "type": "order.paid", "data": {
///     "object": {"id": "247", "state": "paid", "total": 30, "currency": "EUR"},
///     "previousAttributes": {"state": "open"}}}"#;
/// assert!(condition.matches(&event(paid)?));
/// assert!(!condition.matches(&event(&paid.replace("30", "29.89"))?));
/// # Ok::<(), tidings::Error>(())
/// ```
#[derive(Clone)]
pub struct Condition {
    text: Arc<RawValue>,
    node: Arc<Node>,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for the field `condition`, naming the place, when the text is
    /// not JSON, says nothing, says the same twice, has an operator that is not known or one with a value
    /// that it does not take, or is over a bound: 8 KiB, 50 comparisons, 16 levels, 100 values for `$in`.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() > CONDITION_BYTES_MAX {
            return Err(invalid(format!(
                "has {} bytes; at most {CONDITION_BYTES_MAX} are allowed",
                text.len()
            )));
        }
        let raw: Box<RawValue> = serde_json::from_str(text)
            .map_err(|error| invalid("is not JSON".into()).with_source(error))?;
        if depth(text) > CONDITION_DEPTH_MAX {
            return Err(invalid(format!("has more than {CONDITION_DEPTH_MAX} levels")));
        }
        if !is_object(text) {
            return Err(invalid("must be an object".into()));
        }
        let node = Reader { tests: 0 }.object(&Place::default(), text)?;
        Ok(Self { text: raw.into(), node: Arc::new(node) })
    }

    /// The text that it was read from.
    pub fn as_str(&self) -> &str {
        self.text.get()
    }

    /// Whether it holds for `event`.
    pub fn matches(&self, event: &Event) -> bool {
        self.node.holds(event.payload())
    }
}

/// As it is written: two spellings of one condition are two.
impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Condition {}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.as_str())
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?;
        Self::parse(text.get()).map_err(D::Error::custom)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

/// What a condition says.
enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Test(Place, Test),
}

/// The names of attributes, from the outside in.
#[derive(Clone, Default)]
struct Place(Vec<Box<str>>);

/// What is asked of a value.
enum Test {
    /// Another text of JSON.
    Equals(Box<str>),
    OneOf(Vec<Box<str>>),
    Compares(&'static [Ordering], Operand),
    StartsWith(Box<[u8]>),
    Exists,
    Changed,
}

enum Operand {
    Number(Decimal),
    String(Box<[u8]>),
}

impl Node {
    fn holds(&self, payload: &str) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(payload)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(payload)),
            Self::Not(node) => !node.holds(payload),
            Self::Test(place, Test::Changed) => {
                let rest = &place.0[OBJECT.len()..];
                let previous = found(payload, &PREVIOUS).filter(|previous| is_object(previous));
                previous.is_some_and(|previous| was_changed(previous, rest))
            }
            Self::Test(place, test) => any(payload, &place.0, &|value| test.holds(value)),
        }
    }
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            // It is asked of what is there, and of changes elsewhere.
            Self::Exists | Self::Changed => true,
            Self::Equals(expected) => self::equals(value, expected),
            Self::OneOf(choices) => choices.iter().any(|choice| self::equals(value, choice)),
            Self::Compares(orders, operand) => of_each(value, &|value| {
                operand.compare(value).is_some_and(|order| orders.contains(&order))
            }),
            Self::StartsWith(start) => {
                of_each(value, &|value| string(value).is_some_and(|text| text.starts_with(start)))
            }
        }
    }
}

fn equals(value: &str, expected: &str) -> bool {
    same_value(value, expected) || of_each(value, &|value| same_value(value, expected))
}

/// Whether `test` holds for a value, or for one of its elements where it is an array.
fn of_each(value: &str, test: &dyn Fn(&str) -> bool) -> bool {
    match elements(value) {
        Some(elements) => elements.into_iter().any(test),
        None => test(value),
    }
}

/// Whether `test` holds for a value at this place; in arrays, for one of those.
fn any(value: &str, place: &[Box<str>], test: &dyn Fn(&str) -> bool) -> bool {
    let Some((name, rest)) = place.split_first() else {
        return test(value);
    };
    if is_object(value) {
        return member(value, name).is_some_and(|value| any(value, rest, test));
    }
    elements(value).is_some_and(|elements| {
        elements.into_iter().any(|element| is_object(element) && any(element, place, test))
    })
}

fn found<'a>(value: &'a str, place: &[&str]) -> Option<&'a str> {
    place.iter().try_fold(value, |value, name| member(value, name))
}

/// Whether the attributes before a change have one at this place. What was no object is the former value
/// of all that is below it now.
fn was_changed(previous: &str, place: &[Box<str>]) -> bool {
    match place.split_first() {
        None => !is_empty_object(previous),
        Some((name, rest)) if is_object(previous) => member(previous, name)
            .is_some_and(|previous| rest.is_empty() || was_changed(previous, rest)),
        Some(_) => true,
    }
}

/// What a string means; `None` for other values.
fn string(value: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
    value.strip_prefix('"')?.strip_suffix('"').map(unescape)
}

impl Operand {
    fn of(value: &str) -> Option<Self> {
        let number = || Decimal::of(value).map(Self::Number);
        string(value).map(|text| Self::String(text.into())).or_else(number)
    }

    /// How `value` stands to it.
    fn compare(&self, value: &str) -> Option<Ordering> {
        match self {
            Self::Number(number) => Some(Decimal::of(value)?.cmp(number)),
            Self::String(text) => Some((*string(value)?).cmp(text)),
        }
    }
}

/// A number as it is written, exact.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    /// Of the first digit: 0 for a number from 1 to 9. Nothing is said of zero.
    power: i128,
    /// Without zeros at either end; none for zero.
    digits: Box<[u8]>,
}

impl Decimal {
    fn of(text: &str) -> Option<Self> {
        let negative = text.starts_with('-');
        let text = text.strip_prefix('-').unwrap_or(text);
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // What has more digits is so far away that nothing it is compared with comes near.
        let far = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let exponent = i128::from(exponent.parse().unwrap_or(far));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let first = digits.iter().position(|digit| *digit != b'0');
        let Some(first) = first else {
            return Some(Self { negative: false, power: 0, digits: Box::default() });
        };
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
        let power = exponent + whole.len() as i128 - 1 - first as i128;
        Some(Self { negative, power, digits: digits[first..=last].into() })
    }

    /// Less than zero, zero, or more.
    fn sign(&self) -> Ordering {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Less,
            (false, false) => Ordering::Greater,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let size = || self.power.cmp(&other.power).then_with(|| self.digits.cmp(&other.digits));
        self.sign().cmp(&other.sign()).then_with(|| match self.sign() {
            Ordering::Greater => size(),
            Ordering::Less => size().reverse(),
            Ordering::Equal => Ordering::Equal,
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Reads the text of a condition and counts its tests.
struct Reader {
    tests: usize,
}

impl Reader {
    /// An object: all that its members say, of this place.
    fn object(&mut self, place: &Place, text: &str) -> Result<Node> {
        let members = members(text).unwrap_or_default();
        if members.is_empty() {
            return Err(place.wrong("says nothing; to compare with {}, write {\"$eq\": {}}"));
        }
        let mut nodes = Vec::with_capacity(members.len());
        for (index, member) in members.iter().enumerate() {
            let Ok(key) = str::from_utf8(&member.key) else {
                return Err(place.wrong("has a key that is not Unicode"));
            };
            if members[..index].iter().any(|before| before.key == member.key) {
                return Err(place.wrong(&format!("has the key {key} twice")));
            }
            nodes.push(match key.strip_prefix('$') {
                Some(operator) => self.operator(place, operator, member.value)?,
                None => self.attribute(&place.below(key)?, member.value)?,
            });
        }
        match nodes.len() {
            1 => Ok(nodes.remove(0)),
            _ => Ok(Node::All(nodes)),
        }
    }

    /// What stands at the name of an attribute.
    fn attribute(&mut self, place: &Place, value: &str) -> Result<Node> {
        if is_object(value) {
            return self.object(place, value);
        }
        if elements(value).is_some() {
            let why =
                "has an array; write {\"$in\": […]} for one of several values, or {\"$eq\": […]}";
            return Err(place.wrong(why));
        }
        self.test(place, Test::Equals(value.into()))
    }

    fn operator(&mut self, place: &Place, operator: &str, value: &str) -> Result<Node> {
        use Ordering::{Equal, Greater, Less};

        let takes = |what: &str| place.wrong(&format!("has ${operator}, which takes {what}"));
        let truth = || match value {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(takes("true or false")),
        };
        let said = |node: Node, truth| if truth { node } else { Node::Not(Box::new(node)) };
        match operator {
            "and" => Ok(Node::All(self.list(place, operator, value)?)),
            "or" => Ok(Node::Any(self.list(place, operator, value)?)),
            "not" if is_object(value) => Ok(Node::Not(Box::new(self.object(place, value)?))),
            "not" => Err(takes("a condition, as an object")),
            "eq" => self.test(place, Test::Equals(value.into())),
            "ne" => Ok(said(self.test(place, Test::Equals(value.into()))?, false)),
            "gt" | "gte" | "lt" | "lte" => {
                let operand = Operand::of(value).ok_or_else(|| takes("a number or a string"))?;
                let orders: &[Ordering] = match operator {
                    "gt" => &[Greater],
                    "gte" => &[Greater, Equal],
                    "lt" => &[Less],
                    _ => &[Less, Equal],
                };
                self.test(place, Test::Compares(orders, operand))
            }
            "in" => {
                let choices = elements(value).filter(|choices| {
                    (1..=CONDITION_CHOICES_MAX).contains(&choices.len())
                        && !choices.iter().any(|choice| choice.starts_with(['{', '[']))
                });
                let what = format!("1 to {CONDITION_CHOICES_MAX} plain values, as an array");
                let choices = choices.ok_or_else(|| takes(&what))?;
                self.test(place, Test::OneOf(choices.into_iter().map(Into::into).collect()))
            }
            "startsWith" => {
                let start = string(value).filter(|start| !start.is_empty());
                let start = start.ok_or_else(|| takes("a string that is not empty"))?;
                self.test(place, Test::StartsWith(start.into()))
            }
            "exists" => Ok(said(self.test(place, Test::Exists)?, truth()?)),
            "changed" if place.0.len() < OBJECT.len() || !place.is_in(&OBJECT) => {
                Err(place.wrong("has $changed, which is asked of attributes in data.object"))
            }
            "changed" => Ok(said(self.test(place, Test::Changed)?, truth()?)),
            _ => {
                let why = format!("has ${operator}, which is no operator; there are {OPERATORS}");
                Err(place.wrong(&why))
            }
        }
    }

    fn list(&mut self, place: &Place, operator: &str, value: &str) -> Result<Vec<Node>> {
        let conditions = elements(value).filter(|conditions| {
            !conditions.is_empty() && conditions.iter().all(|condition| is_object(condition))
        });
        let wrong = || {
            place.wrong(&format!("has ${operator}, which takes conditions, as an array of objects"))
        };
        let conditions = conditions.ok_or_else(wrong)?;
        conditions.into_iter().map(|condition| self.object(place, condition)).collect()
    }

    fn test(&mut self, place: &Place, test: Test) -> Result<Node> {
        self.tests += 1;
        if self.tests > CONDITION_TESTS_MAX {
            return Err(invalid(format!("has more than {CONDITION_TESTS_MAX} comparisons")));
        }
        if place.0.is_empty() {
            return Err(invalid(
                "compares with nothing: name an attribute, as in data.object.id".into(),
            ));
        }
        // The rest of a payload is the host's; `data` holds these two.
        let known = [OBJECT, PREVIOUS].iter().any(|known| place.is_in(known));
        if &*place.0[0] == "data" && (place.0.len() < OBJECT.len() || !known) {
            return Err(place.wrong("leads nowhere: data has object and previousAttributes"));
        }
        Ok(Node::Test(place.clone(), test))
    }
}

impl Place {
    /// The place that `path`, names joined with dots, leads to from here.
    fn below(&self, path: &str) -> Result<Self> {
        let mut place = self.clone();
        for name in path.split('.') {
            if name.is_empty() {
                return Err(self.wrong(&format!("has the key {path:?}, a name in which is empty")));
            }
            place.0.push(name.into());
        }
        if place.0.len() > CONDITION_PATH_MAX {
            let why = format!("has a path of more than {CONDITION_PATH_MAX} names");
            return Err(self.wrong(&why));
        }
        Ok(place)
    }

    fn is_in(&self, known: &[&str; 2]) -> bool {
        self.0.iter().zip(known).all(|(name, known)| &**name == *known)
    }

    fn wrong(&self, why: &str) -> Error {
        match self.0.as_slice() {
            [] => invalid(why.to_owned()),
            names => invalid(format!("at {}: {why}", names.join("."))),
        }
    }
}

fn invalid(message: String) -> Error {
    Error::invalid(FIELD, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Account, Timestamp};

    fn event(data: &str) -> Event {
        let payload = format!(
            r#"{{"id": "0198c4ae-6d0c-7cc1-9d5b-5a1d0a3c9f10", "type": "order.paid", "data": {data},
                "metadata": {{"region": "de"}}, "shop": "a.b"}}"#
        );
        Event::parse(payload, Account::default(), Timestamp::UNIX_EPOCH).unwrap()
    }

    const DATA: &str = r#"{"object": {"id": "247", "state": "paid", "total": 29.90, "count": 3,
        "none": null, "big": 12345678901234567891, "gift": false, "note": "Zo\u00eb",
        "address": {"city": "Köln", "zip": "50667"}, "tags": ["vip", "new"],
        "items": [{"sku": "a", "price": 5}, {"sku": "b", "price": 50, "tags": ["x"]}]},
        "previousAttributes": {"state": "open", "total": null, "address": {"zip": "50668"},
            "tags": ["new"], "items": [{"sku": "a"}]}}"#;

    /// Asks conditions of one event (table).
    #[test]
    fn a_condition_holds_or_does_not() {
        let event = event(DATA);
        for (condition, expected) in [
            // Plain values, nested and joined with dots.
            (r#"{"data.object.state": "paid"}"#, true),
            (r#"{"data.object.state": "open"}"#, false),
            (r#"{"data": {"object": {"state": "paid", "count": 3}}}"#, true),
            (r#"{"data": {"object.address": {"city": "K\u00f6ln"}}}"#, true),
            (r#"{"data.object": {"state": "paid", "count": 4}}"#, false),
            (r#"{"data.object.note": "Zoë"}"#, true),
            (r#"{"type": "order.paid", "metadata.region": "de"}"#, true),
            (r#"{"data.object.missing.deeper": "x"}"#, false),
            (r#"{"data.object.none": null}"#, true),
            (r#"{"data.object.missing": null}"#, false),
            (r#"{"data.object.gift": false}"#, true),
            // Numbers as decimals, to the last digit.
            (r#"{"data.object.total": 29.9}"#, true),
            (r#"{"data.object.total": 2.99e1}"#, true),
            (r#"{"data.object.total": "29.90"}"#, false),
            (r#"{"data.object.big": 12345678901234567891}"#, true),
            (r#"{"data.object.big": 12345678901234567892}"#, false),
            (r#"{"data.object.big": {"$lt": 12345678901234567892}}"#, true),
            (r#"{"data.object.big": {"$lt": 12345678901234567891}}"#, false),
            // Operators.
            (r#"{"data.object.state": {"$eq": "paid"}}"#, true),
            (r#"{"data.object.address": {"$eq": {"zip": "50667", "city": "Köln"}}}"#, true),
            (r#"{"data.object.state": {"$ne": "open"}}"#, true),
            (r#"{"data.object.missing": {"$ne": "open"}}"#, true),
            (r#"{"data.object.total": {"$gt": 29.89, "$lt": 29.91}}"#, true),
            (r#"{"data.object.total": {"$gt": 29.9}}"#, false),
            (r#"{"data.object.total": {"$gte": 29.90}}"#, true),
            (r#"{"data.object.total": {"$lte": 29.8999}}"#, false),
            (r#"{"data.object.total": {"$gt": -1e400}}"#, true),
            (r#"{"data.object.state": {"$gt": "open", "$lt": "q"}}"#, true),
            (r#"{"data.object.state": {"$gt": 1}}"#, false),
            (r#"{"data.object.total": {"$gt": "1"}}"#, false),
            (r#"{"data.object.state": {"$in": ["open", "paid"]}}"#, true),
            (r#"{"data.object.count": {"$in": [1, 2]}}"#, false),
            (r#"{"data.object.none": {"$exists": true}}"#, true),
            (r#"{"data.object.missing": {"$exists": false}}"#, true),
            (r#"{"data.object.state": {"$exists": false}}"#, false),
            (r#"{"data.object.address.zip": {"$startsWith": "506"}}"#, true),
            (r#"{"data.object.total": {"$startsWith": "29"}}"#, false),
            // Together.
            (r#"{"$or": [{"data.object.state": "open"}, {"data.object.count": 3}]}"#, true),
            (r#"{"$and": [{"data.object.state": "open"}, {"data.object.count": 3}]}"#, false),
            (r#"{"data.object": {"$or": [{"state": "open"}, {"count": {"$gt": 2}}]}}"#, true),
            (r#"{"data.object.count": {"$or": [{"$lt": 1}, {"$gt": 2}]}}"#, true),
            (r#"{"$not": {"data.object.state": "paid"}}"#, false),
            (r#"{"data.object.count": {"$not": {"$gt": 3}}}"#, true),
            // Arrays: one of the elements.
            (r#"{"data.object.tags": "vip"}"#, true),
            (r#"{"data.object.tags": "old"}"#, false),
            (r#"{"data.object.tags": {"$eq": ["vip", "new"]}}"#, true),
            (r#"{"data.object.tags": {"$startsWith": "ne"}}"#, true),
            (r#"{"data.object.items.sku": "b"}"#, true),
            (r#"{"data.object.items.price": {"$gt": 50}}"#, false),
            (r#"{"data.object.items.tags": "x"}"#, true),
            (r#"{"data.object.items.sku": {"$ne": "b"}}"#, false),
            // What was changed.
            (r#"{"data.object.state": {"$changed": true}}"#, true),
            (r#"{"data.object.state": {"$changed": false}}"#, false),
            (r#"{"data.object.total": {"$changed": true, "$gt": 5}}"#, true),
            (r#"{"data.object.id": {"$changed": true}}"#, false),
            (r#"{"data.object.address.zip": {"$changed": true}}"#, true),
            (r#"{"data.object.address.city": {"$changed": true}}"#, false),
            (r#"{"data.object.address": {"$changed": true}}"#, true),
            (r#"{"data.object.items.price": {"$changed": true}}"#, true),
            (r#"{"data.object": {"$changed": true}}"#, true),
            (r#"{"data.previousAttributes.state": "open", "data.object.state": "paid"}"#, true),
            (r#"{"data.previousAttributes.id": {"$exists": true}}"#, false),
        ] {
            let read = Condition::parse(condition).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(read.matches(&event), expected, "{condition}");
            let again: Condition =
                serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
            assert_eq!(again, read);
        }
    }

    /// Asks what was changed of an event that created something, and of one that changed nothing.
    #[test]
    fn nothing_was_changed_by_a_creation() {
        for data in [
            r#"{"object": {"id": "1"}}"#,
            r#"{"object": {"id": "1"}, "previousAttributes": {}}"#,
            r#"{"object": {"id": "1"}, "previousAttributes": null}"#,
        ] {
            for place in ["data.object", "data.object.id"] {
                let changed = format!(r#"{{"{place}": {{"$changed": true}}}}"#);
                assert!(!Condition::parse(&changed).unwrap().matches(&event(data)), "{data}");
            }
        }
    }

    /// Reads conditions that break one rule each (table).
    #[test]
    fn a_wrong_condition_says_where() {
        let many = |each: &str, count: usize| vec![each; count].join(",");
        let tests = format!(r#"{{"$or": [{}]}}"#, many(r#"{"a": 1}"#, CONDITION_TESTS_MAX + 1));
        let choices = format!(r#"{{"a": {{"$in": [{}]}}}}"#, many("1", CONDITION_CHOICES_MAX + 1));
        let deep = format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17));
        let path = format!(r#"{{"{}": 1}}"#, vec!["a"; CONDITION_PATH_MAX + 1].join("."));
        let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(CONDITION_BYTES_MAX));
        for (condition, says) in [
            ("", "not JSON"),
            ("{", "not JSON"),
            (r#"{"a": 1} {}"#, "not JSON"),
            ("[]", "must be an object"),
            ("null", "must be an object"),
            ("{}", "says nothing"),
            (r#"{"data.object": {}}"#, "at data.object: says nothing"),
            (r#"{"a": 1, "a": 2}"#, "the key a twice"),
            (r#"{"a": 1, "\u0061": 2}"#, "the key a twice"),
            (r#"{"a": [1]}"#, "at a: has an array"),
            (r#"{"a..b": 1}"#, "a name in which is empty"),
            (r#"{"": 1}"#, "a name in which is empty"),
            (r#"{"a": {"$like": 1}}"#, "$like, which is no operator"),
            (r#"{"a": {"$gt": true}}"#, "$gt, which takes a number or a string"),
            (r#"{"a": {"$in": []}}"#, "$in, which takes 1 to 100"),
            (r#"{"a": {"$in": [{}]}}"#, "$in, which takes 1 to 100"),
            (choices.as_str(), "$in, which takes 1 to 100"),
            (r#"{"a": {"$exists": 1}}"#, "true or false"),
            (r#"{"a": {"$startsWith": ""}}"#, "a string that is not empty"),
            (r#"{"$eq": 1}"#, "name an attribute"),
            (r#"{"$and": []}"#, "$and, which takes conditions"),
            (r#"{"$or": {"a": 1}}"#, "$or, which takes conditions"),
            (r#"{"$not": 1}"#, "$not, which takes a condition"),
            (r#"{"state": {"$changed": true}}"#, "asked of attributes in data.object"),
            (r#"{"data": {"$changed": true}}"#, "asked of attributes in data.object"),
            (r#"{"data.state": "paid"}"#, "at data.state: leads nowhere"),
            (r#"{"data": {"$exists": true}}"#, "at data: leads nowhere"),
            (r#"{"\ud800": 1}"#, "not Unicode"),
            (tests.as_str(), "more than 50 comparisons"),
            (deep.as_str(), "more than 16 levels"),
            (path.as_str(), "a path of more than 16"),
            (long.as_str(), "at most 8192"),
        ] {
            let error = Condition::parse(condition).unwrap_err();
            assert_eq!(error.field(), Some("condition"));
            assert!(error.to_string().contains(says), "{condition}: {error}");
        }
    }

    /// Compares spellings of decimals with each other, in their order (table).
    #[test]
    fn decimals_are_in_order() {
        let rows: [&[&str]; 11] = [
            &["-1e99999999999999999999999999"],
            &["-1e400"],
            &["-10", "-1e1", "-10.00"],
            &["-9.99"],
            &["-1e-400"],
            &["0", "-0", "0.0", "0e9"],
            &["1e-400"],
            &["0.05", "5e-2", "0.0050e1"],
            &["29.9", "29.90", "2990e-2"],
            &["29.91"],
            &["12345678901234567890", "1234567890123456789e1"],
        ];
        let read = |text: &str| Decimal::of(text).unwrap();
        for (index, row) in rows.iter().enumerate() {
            for one in *row {
                for (at, other) in rows
                    .iter()
                    .enumerate()
                    .flat_map(|(at, row)| row.iter().map(move |text| (at, text)))
                {
                    assert_eq!(read(one).cmp(&read(other)), index.cmp(&at), "{one} {other}");
                }
            }
        }
        assert!(
            ["true", "null", "\"1\"", "[1]", ""].iter().all(|text| Decimal::of(text).is_none())
        );
    }
}
