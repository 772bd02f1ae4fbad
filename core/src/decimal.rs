//! An exact decimal number that keeps the text it was sent as.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, ToPrimitive as _};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// Up to how many bytes the text of a result has no exponent: 38 digits with sign and point. Our own limit.
const PLAIN_BYTES_MAX: usize = 40;

/// A finite decimal number, exact up to 38 significant digits and kept as it was sent: `4` stays `4` and `2.10` stays
/// `2.10`.
///
/// Two numbers are equal when their values are, however they are written: `4`, `4.0` and `40e-1` are one, and so are
/// `-0` and `0`. Their order is that of their values, too. To compare the text, compare [`Decimal::as_str`].
///
/// Arithmetic never rounds. A result that needs more digits, or lies out of range, is an error. Its text is the
/// shortest: no zeros at the end of a fraction, and an exponent only where 40 bytes are too few without one.
///
/// ```
/// use quadrille::decimal::Decimal;
///
/// let (price, count) = (Decimal::parse("2.10")?, Decimal::from(3));
/// assert_eq!(price.as_str(), "2.10");
/// assert_eq!(price.checked_mul(&count)?.as_str(), "6.3");
/// assert_eq!(Decimal::checked_sum([&price, &price, &count])?, Decimal::parse("7.20")?);
/// # Ok::<(), quadrille::decimal::DecimalError>(())
/// ```
///
/// With serde it is a bare JSON number, by way of [`RawValue`]. So it needs `serde_json`, and has to go straight from
/// text to type and back. A [`serde_json::Value`] in between keeps no more of it than a 64-bit float can. Within
/// `#[serde(flatten)]`, `#[serde(untagged)]` or `#[serde(tag = "…")]` it is written well, but can't be read: serde
/// holds such a value in a form of its own first.
#[derive(Clone)]
pub struct Decimal {
    text: Box<str>,
    value: Value,
}

/// Why a text is not a [`Decimal`], or the result of a calculation is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text does not follow the grammar of RFC 8259, section 6.
    #[error("the text is not a JSON number")]
    NotANumber,
    /// The number has more than [`Decimal::DIGITS_MAX`] significant digits.
    #[error("the number has {digits} significant digits, the limit is {}", Decimal::DIGITS_MAX)]
    TooManyDigits {
        /// How many significant digits it has.
        digits: usize,
    },
    /// The number is not zero, and its magnitude is above 9.9999999999999999999999999999999999999e125 or below 1e-130.
    #[error(
        "the number is out of range: its magnitude must be zero or from 1e{} to just under 1e{}",
        Decimal::EXPONENT_MIN,
        Decimal::EXPONENT_MAX + 1
    )]
    OutOfRange,
    /// The text is longer than [`Decimal::BYTES_MAX`].
    #[error("the number is written with {bytes} bytes, the limit is {}", Decimal::BYTES_MAX)]
    TooLong {
        /// The length of the text, in bytes.
        bytes: usize,
    },
}

impl Decimal {
    /// The most significant digits: DynamoDB's own limit for its number type ("Supported data types and naming rules in
    /// Amazon DynamoDB"). Leading and trailing zeros are not significant.
    pub const DIGITS_MAX: usize = 38;

    /// The power of ten of the first significant digit in the largest number,
    /// 9.9999999999999999999999999999999999999e125: DynamoDB's own limit.
    pub const EXPONENT_MAX: i32 = 125;

    /// The power of ten of the first significant digit in the smallest number above zero, 1e-130: DynamoDB's own limit.
    pub const EXPONENT_MIN: i32 = -130;

    /// The longest text, in bytes. Our own limit, since zeros cost nothing in digits or range: it leaves room for 38
    /// digits and as many zeros again, while `0.000…` can't fill the table.
    pub const BYTES_MAX: usize = 128;

    /// Reads a number by the grammar of JSON (RFC 8259, section 6), with no blanks around it.
    ///
    /// # Errors
    /// The text is not a number, is too long, or is a number beyond the digits or the range of DynamoDB.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        let value = Value::parse(text)?;
        Ok(Self { text: text.into(), value })
    }

    /// The number as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has no fraction: `4.0` has none.
    pub fn is_integer(&self) -> bool {
        self.value.exponent >= 0
    }

    /// Whether it is below zero: `-0` is not.
    pub fn is_negative(&self) -> bool {
        self.value.negative
    }

    /// The number as an integer, if it is one and fits.
    pub fn to_i64(&self) -> Option<i64> {
        // Not by way of bigdecimal, which cuts a fraction off.
        self.is_integer().then(|| self.value.to_big().to_i64()).flatten()
    }

    /// The sum of two numbers.
    ///
    /// # Errors
    /// It has too many digits, or is out of range.
    pub fn checked_add(&self, other: &Self) -> Result<Self, DecimalError> {
        Self::from_big(&(self.value.to_big() + other.value.to_big()))
    }

    /// This number less the `other`.
    ///
    /// # Errors
    /// The difference has too many digits, or is out of range.
    pub fn checked_sub(&self, other: &Self) -> Result<Self, DecimalError> {
        Self::from_big(&(self.value.to_big() - other.value.to_big()))
    }

    /// The product of two numbers.
    ///
    /// # Errors
    /// It has too many digits, or is out of range.
    pub fn checked_mul(&self, other: &Self) -> Result<Self, DecimalError> {
        Self::from_big(&(self.value.to_big() * other.value.to_big()))
    }

    /// The sum of all numbers, zero if there are none. Only the end is held to the limits: the order does not matter.
    ///
    /// # Errors
    /// It has too many digits, or is out of range.
    pub fn checked_sum<'a>(numbers: impl IntoIterator<Item = &'a Self>) -> Result<Self, DecimalError> {
        let sum = numbers.into_iter().fold(BigDecimal::default(), |sum, number| sum + number.value.to_big());
        Self::from_big(&sum)
    }

    /// What so many of each come to: the sum of the products, zero if there are none. Only the end is held to the limits.
    ///
    /// # Errors
    /// It has too many digits, or is out of range.
    pub fn checked_total<'a>(
        counted: impl IntoIterator<Item = (i64, &'a Self)>,
    ) -> Result<Self, DecimalError> {
        let add = |sum: BigDecimal, (count, each): (i64, &Self)| sum + each.value.to_big() * count;
        Self::from_big(&counted.into_iter().fold(BigDecimal::default(), add))
    }

    /// The result of a calculation, within the limits.
    fn from_big(result: &BigDecimal) -> Result<Self, DecimalError> {
        let value = Value::from_big(result)?;
        Ok(Self { text: value.write().into(), value })
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Decimal({})", self.text)
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        self.value.to_big().cmp(&other.value.to_big())
    }
}

impl Hash for Decimal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        let mut coefficient = u128::from(value.unsigned_abs());
        let mut exponent = 0;
        while coefficient != 0 && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        let text = value.to_string().into();
        Self { text, value: Value { negative: value < 0, coefficient, exponent } }
    }
}

impl From<i32> for Decimal {
    fn from(value: i32) -> Self {
        Self::from(i64::from(value))
    }
}

impl From<u32> for Decimal {
    fn from(value: u32) -> Self {
        Self::from(i64::from(value))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let value = Value::parse(raw.get()).map_err(D::Error::custom)?;
        Ok(Self { text: raw.into(), value })
    }
}

/// The value `coefficient * 10^exponent` in the one form each value has: the coefficient does not end in zero, and zero
/// itself is positive with exponent zero. So equal values have equal fields. Reading and equality go without the crate
/// of big numbers, which would allocate for each order that is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Value {
    negative: bool,
    /// Below 10^38, the digits' limit, which 128 bits can hold.
    coefficient: u128,
    exponent: i32,
}

impl Value {
    const ZERO: Self = Self { negative: false, coefficient: 0, exponent: 0 };

    /// For calculations. Its exponent is within the limits, so no calculation grows beyond some hundred digits.
    fn to_big(self) -> BigDecimal {
        let sign = if self.negative { Sign::Minus } else { Sign::Plus };
        BigDecimal::new(BigInt::from_biguint(sign, self.coefficient.into()), -i64::from(self.exponent))
    }

    fn from_big(result: &BigDecimal) -> Result<Self, DecimalError> {
        let (integer, scale) = result.normalized().into_bigint_and_scale();
        if integer.sign() == Sign::NoSign {
            return Ok(Self::ZERO);
        }
        let digits = integer.magnitude().to_string().len();
        let exponent = i32::try_from(-scale).map_err(|_| DecimalError::OutOfRange)?;
        Self::check_limits(digits, exponent)?;
        let coefficient = integer.magnitude().to_u128().ok_or(DecimalError::TooManyDigits { digits })?;
        Ok(Self { negative: integer.sign() == Sign::Minus, coefficient, exponent })
    }

    fn check_limits(digits: usize, exponent: i32) -> Result<(), DecimalError> {
        if digits > Decimal::DIGITS_MAX {
            return Err(DecimalError::TooManyDigits { digits });
        }
        let exponent_of_first_digit = exponent + digits as i32 - 1;
        if !(Decimal::EXPONENT_MIN..=Decimal::EXPONENT_MAX).contains(&exponent_of_first_digit) {
            return Err(DecimalError::OutOfRange);
        }
        Ok(())
    }

    /// The shortest text of the value.
    fn write(self) -> String {
        let plain = self.to_big().to_plain_string();
        if plain.len() <= PLAIN_BYTES_MAX {
            return plain;
        }
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{}e{}", self.coefficient, self.exponent)
    }

    fn parse(text: &str) -> Result<Self, DecimalError> {
        // With the length bounded first, no counter below can overflow; only the exponent's digits can.
        if text.len() > Decimal::BYTES_MAX {
            return Err(DecimalError::TooLong { bytes: text.len() });
        }
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        let mut bytes = unsigned.bytes().peekable();
        let mut mantissa = Mantissa::default();

        let leading_zero = bytes.peek() == Some(&b'0');
        let whole_digits = mantissa.take_digits(&mut bytes);
        if whole_digits == 0 || (leading_zero && whole_digits > 1) {
            return Err(DecimalError::NotANumber);
        }
        let mut exponent = 0;
        if bytes.next_if_eq(&b'.').is_some() {
            let fraction_digits = mantissa.take_digits(&mut bytes);
            if fraction_digits == 0 {
                return Err(DecimalError::NotANumber);
            }
            exponent -= fraction_digits;
        }
        if bytes.next_if(|byte| matches!(byte, b'e' | b'E')).is_some() {
            exponent += take_exponent(&mut bytes)?;
        }
        if bytes.next().is_some() {
            return Err(DecimalError::NotANumber);
        }

        if mantissa.coefficient == 0 {
            return Ok(Self::ZERO);
        }
        exponent += mantissa.zeros as i32;
        Self::check_limits(mantissa.digits, exponent)?;
        Ok(Self { negative, coefficient: mantissa.coefficient, exponent })
    }
}

/// The bytes of a number that are still to be read.
type Bytes<'a> = std::iter::Peekable<std::str::Bytes<'a>>;

/// The digits read so far, before and after the point alike.
#[derive(Default)]
struct Mantissa {
    /// The significant digits as an integer; no longer kept up once there are too many.
    coefficient: u128,
    /// How many significant digits there are.
    digits: usize,
    /// The zeros after the last significant digit: significant only if another digit follows.
    zeros: usize,
}

impl Mantissa {
    /// Takes all digits up to the next other byte, and tells how many there were.
    fn take_digits(&mut self, bytes: &mut Bytes<'_>) -> i32 {
        let mut count = 0;
        while let Some(byte) = bytes.next_if(u8::is_ascii_digit) {
            count += 1;
            if byte != b'0' {
                self.digits += self.zeros + 1;
                if self.digits <= Decimal::DIGITS_MAX {
                    let shift = 10_u128.pow(self.zeros as u32 + 1);
                    self.coefficient = self.coefficient * shift + u128::from(byte - b'0');
                }
                self.zeros = 0;
            } else if self.digits > 0 {
                self.zeros += 1;
            }
        }
        count
    }
}

/// Takes what follows the `e`. An exponent too large for any number in range stays just that.
fn take_exponent(bytes: &mut Bytes<'_>) -> Result<i32, DecimalError> {
    const FAR_OUT_OF_RANGE: i32 = 1_000_000;

    let sign = bytes.next_if(|byte| matches!(byte, b'+' | b'-'));
    let mut digits = bytes.peek().filter(|byte| byte.is_ascii_digit()).map(|_| 0_i32);
    while let Some(byte) = bytes.next_if(u8::is_ascii_digit) {
        digits = digits.map(|digits| (digits * 10 + i32::from(byte - b'0')).min(FAR_OUT_OF_RANGE));
    }
    let magnitude = digits.ok_or(DecimalError::NotANumber)?;
    Ok(if sign == Some(b'-') { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).expect(text)
    }

    #[test]
    fn a_number_in_range_keeps_its_text() {
        let nines = "9".repeat(38);
        let short = "0 -0 0.0 4 -4 2.1 2.10 1000 0.001 1e100 1E+2 1e-2 1e0007 1e-130 -1e-130 0.1e-129 \
            1000e-133 0e99999999999999 9.9999999999999999999999999999999999999e125";
        let zeros = "0".repeat(125);
        let long = format!("{nines} {nines}000.000 0.000{nines} 1{zeros} 0.{zeros}");
        for text in short.split_whitespace().chain(long.split_whitespace()) {
            let number = Decimal::parse(text).expect(text);
            assert_eq!(number.as_str(), text);
            assert_eq!(number.to_string(), text);
            assert_eq!(serde_json::to_string(&number).expect(text), text);
            assert_eq!(serde_json::from_str::<Decimal>(text).expect(text).as_str(), text);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let texts = "- +1 01 -01 00 .5 1. 1.e2 1e 1e+ 1e- 1e1.0 --1 1,5 0x10 1_000 NaN Infinity -Infinity \
            null \"4\" 1e5e5 1.2.3 ٤ 1é";
        for text in texts.split_whitespace().chain(["", " 1", "1 ", "1\n"]) {
            assert_eq!(Decimal::parse(text), Err(DecimalError::NotANumber), "{text}");
            let is_padded = text.trim() != text;
            assert!(is_padded || serde_json::from_str::<Decimal>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_beyond_a_limit_is_refused_with_the_limits_name() {
        use DecimalError::*;

        let zeros = |count: usize| "0".repeat(count);
        let cases = [
            ("1".repeat(39), TooManyDigits { digits: 39 }),
            (format!("1{}1", zeros(38)), TooManyDigits { digits: 40 }),
            (format!("1.{}1e-500", zeros(40)), TooManyDigits { digits: 42 }),
            ("1e126".into(), OutOfRange),
            ("-10e125".into(), OutOfRange),
            ("0.1e-130".into(), OutOfRange),
            ("9.9e-131".into(), OutOfRange),
            ("1e400".into(), OutOfRange),
            ("1e99999999999999999999".into(), OutOfRange),
            ("-1e-99999999999999999999".into(), OutOfRange),
            (format!("1e{}", "9".repeat(126)), OutOfRange),
            (format!("1{}", zeros(127)), OutOfRange),
            (format!("0.{}", zeros(127)), TooLong { bytes: 129 }),
            (format!("0.{}1", zeros(50_000)), TooLong { bytes: 50_003 }),
        ];
        for (text, error) in cases {
            assert_eq!(Decimal::parse(&text), Err(error), "{text}");
            assert!(serde_json::from_str::<Decimal>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_equal_by_value() {
        let hasher = RandomState::new();
        for same in [
            ["4", "4.0", "40e-1"],
            ["0", "-0", "0e7"],
            ["1000", "1e3", "0.001e6"],
            ["-2.1", "-2.10", "-21e-1"],
        ] {
            for text in same {
                assert_eq!(number(text), number(same[0]));
                assert_eq!(hasher.hash_one(number(text)), hasher.hash_one(number(same[0])));
            }
        }
        for [left, right] in [["4", "-4"], ["4", "40"], ["1e-130", "0"], ["2.1", "2.11"]] {
            assert_ne!(number(left), number(right));
        }
        for value in [0, 4, -4, 100, i64::MIN, i64::MAX] {
            assert_eq!(Decimal::from(value), number(&value.to_string()));
        }
        assert_eq!(Decimal::from(u32::MAX).as_str(), "4294967295");
    }

    #[test]
    fn results_are_exact_and_written_short() {
        let cases = [
            ("0.1", "0.2", ["0.3", "-0.1", "0.02"]),
            ("2.10", "-2.1", ["0", "4.2", "-4.41"]),
            ("1e20", "1", ["100000000000000000001", "99999999999999999999", "100000000000000000000"]),
            ("-0", "0e99999999999999", ["0", "0", "0"]),
            ("1e60", "2e60", ["3e60", "-1e60", "2e120"]),
            ("1e-60", "-1e-60", ["0", "2e-60", "-1e-120"]),
        ];
        for (left, right, texts) in cases {
            let (left, right) = (number(left), number(right));
            let results = [left.checked_add(&right), left.checked_sub(&right), left.checked_mul(&right)];
            assert_eq!(results.map(|result| result.expect("in range").to_string()), texts);
        }
        let nines = "9".repeat(38);
        assert_eq!(number(&nines).checked_add(&number("0")).expect("in range").as_str(), nines);
        assert_eq!(number("1").checked_mul(&number("-1e-38")).expect("in range").as_str(), "-1e-38");
    }

    #[test]
    fn a_result_beyond_a_limit_is_an_error() {
        use DecimalError::*;

        assert_eq!(number("9e125").checked_add(&number("1e125")), Err(OutOfRange));
        assert_eq!(number("1e63").checked_mul(&number("-1e63")), Err(OutOfRange));
        assert_eq!(number("1e-66").checked_mul(&number("1e-66")), Err(OutOfRange));
        assert_eq!(number("1e125").checked_add(&number("1e-130")), Err(TooManyDigits { digits: 256 }));
        assert_eq!(number("1e125").checked_sub(&number("1e-130")), Err(TooManyDigits { digits: 255 }));
        let nines = number(&"9".repeat(38));
        assert_eq!(nines.checked_mul(&nines), Err(TooManyDigits { digits: 76 }));
    }

    #[test]
    fn a_sum_is_held_to_the_limits_at_its_end_only() {
        assert_eq!(Decimal::checked_sum([]), Ok(number("0")));
        let [large, small] = ["1e125", "1e-130"].map(number);
        let opposite = number("0").checked_sub(&large).expect("in range");
        assert_eq!(Decimal::checked_sum([&large, &small, &opposite]), Ok(small));
        assert_eq!(Decimal::checked_sum(vec![&number("9e125"); 3]), Err(DecimalError::OutOfRange));
    }

    #[test]
    fn integers_and_signs_are_told_by_value() {
        for (text, integer) in [
            ("4", Some(4)),
            ("4.0", Some(4)),
            ("-40e-1", Some(-4)),
            ("-0.0", Some(0)),
            ("1e3", Some(1_000)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
        ] {
            assert_eq!((number(text).is_integer(), number(text).to_i64()), (true, integer), "{text}");
        }
        for text in ["9223372036854775808", "1e125"] {
            assert_eq!((number(text).is_integer(), number(text).to_i64()), (true, None), "{text}");
        }
        for text in ["4.5", "0.1", "-1e-130"] {
            assert_eq!((number(text).is_integer(), number(text).to_i64()), (false, None), "{text}");
        }
        for (text, negative) in [("-1e-130", true), ("-4", true), ("-0", false), ("0", false), ("4", false)] {
            assert_eq!(number(text).is_negative(), negative, "{text}");
        }
    }

    /// The number that is `value` over 10^`scale`, written digit by digit.
    fn scaled(value: i128, scale: usize) -> String {
        let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if value < 0 { "-" } else { "" };
        if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    proptest! {
        #[test]
        fn arithmetic_agrees_with_scaled_integers(
            left in -1_000_000_000_000_000_i64..1_000_000_000_000_000,
            right in -1_000_000_000_000_000_i64..1_000_000_000_000_000,
            more in proptest::collection::vec(-1_000_000_i64..1_000_000, 0..9),
            scale in 0_usize..12,
        ) {
            let at = |value: i128, scale| number(&scaled(value, scale));
            let (a, b) = (at(left.into(), scale), at(right.into(), scale));
            let (left, right) = (i128::from(left), i128::from(right));
            prop_assert_eq!(a.checked_add(&b), Ok(at(left + right, scale)));
            prop_assert_eq!(a.checked_sub(&b), Ok(at(left - right, scale)));
            prop_assert_eq!(a.checked_mul(&b), Ok(at(left * right, 2 * scale)));
            prop_assert_eq!(a.cmp(&b), left.cmp(&right));
            prop_assert_eq!(a.is_negative(), left < 0);
            prop_assert_eq!(a.is_integer(), left % 10_i128.pow(scale as u32) == 0);
            let sum: i128 = more.iter().copied().map(i128::from).sum();
            let more: Vec<Decimal> = more.iter().map(|value| at((*value).into(), scale)).collect();
            prop_assert_eq!(Decimal::checked_sum(&more), Ok(at(sum, scale)));
        }

        #[test]
        fn no_calculation_panics_and_every_result_can_be_read_again(
            left in "-?[1-9][0-9]{0,37}e-?[0-9]{1,2}",
            right in "-?[0-9](\\.[0-9]{1,36})?e-?[0-9]{1,2}",
        ) {
            if let (Ok(left), Ok(right)) = (Decimal::parse(&left), Decimal::parse(&right)) {
                for result in [left.checked_add(&right), left.checked_sub(&right), left.checked_mul(&right)]
                    .into_iter()
                    .flatten()
                {
                    prop_assert_eq!(Decimal::parse(result.as_str()), Ok(result));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn equality_agrees_with_the_canonical_form(
            coefficient in 1_u64..,
            other: u64,
            exponent in -60_i32..60,
            shift in 0_usize..30,
            zeros in 0_usize..10,
        ) {
            // The same value once more, with the point moved left by `shift` and zeros put after it.
            let digits = format!("{coefficient:0>width$}", width = shift + 1);
            let (whole, fraction) = digits.split_at(digits.len() - shift);
            let zeros = "0".repeat(zeros);
            let moved = match fraction {
                "" => format!("{whole}.0{zeros}e{exponent}"),
                _ => format!("{whole}.{fraction}{zeros}E{}", exponent + shift as i32),
            };
            let plain = Decimal::parse(&format!("{coefficient}e{exponent}")).expect("in range");
            prop_assert_eq!(&Decimal::parse(&moved).expect("in range"), &plain);
            let other_number = Decimal::parse(&format!("{other}e{exponent}")).expect("in range");
            prop_assert_eq!(other_number == plain, other == coefficient);
        }

        #[test]
        fn a_text_is_a_number_only_where_serde_json_agrees(text in "[-+0-9.eE]{0,12}") {
            let well_formed = serde_json::from_str::<&RawValue>(&text).is_ok();
            prop_assert_eq!(Decimal::parse(&text) != Err(DecimalError::NotANumber), well_formed);
        }
    }
}
