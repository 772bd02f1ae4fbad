//! A decimal number that keeps the text it was sent as.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// The most significant digits a [`Number`] may have: DynamoDB's own limit for its number type ("Supported
/// data types and naming rules in Amazon DynamoDB"). Leading and trailing zeros are not significant.
pub const NUMBER_DIGITS_MAX: usize = 38;

/// The power of ten of the first significant digit in the largest [`Number`],
/// 9.9999999999999999999999999999999999999e125: DynamoDB's own limit.
pub const NUMBER_EXPONENT_MAX: i32 = 125;

/// The power of ten of the first significant digit in the smallest [`Number`] above zero, 1e-130: DynamoDB's
/// own limit.
pub const NUMBER_EXPONENT_MIN: i32 = -130;

/// The longest text of a [`Number`], in bytes. Our own limit, since zeros cost nothing in digits or range:
/// it leaves room for 38 digits and as many zeros again, while `0.000…` can't fill the table.
pub const NUMBER_BYTES_MAX: usize = 128;

/// A finite JSON number, kept exactly as it was sent: `4` stays `4` and `2.10` stays `2.10`.
///
/// Two numbers are equal when their values are, however they are written: `4`, `4.0` and `40e-1` are one, and
/// so are `-0` and `0`. To compare the text, compare [`Number::as_str`].
///
/// With serde it is a bare JSON number, by way of [`RawValue`]. So it needs `serde_json`, and has to go
/// straight from text to type and back. A [`serde_json::Value`] in between keeps no more of it than a 64-bit
/// float can. Within `#[serde(flatten)]`, `#[serde(untagged)]` or `#[serde(tag = "…")]` it is written well, but
/// can't be read: serde holds such a value in a form of its own first.
#[derive(Clone)]
pub struct Number {
    text: Box<str>,
    value: Decimal,
}

/// Why a text is not a [`Number`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// The text does not follow the grammar of RFC 8259, section 6.
    #[error("the text is not a JSON number")]
    NotANumber,
    /// The number has more than [`NUMBER_DIGITS_MAX`] significant digits.
    #[error("the number has {digits} significant digits, the limit is {NUMBER_DIGITS_MAX}")]
    TooManyDigits {
        /// How many significant digits it has.
        digits: usize,
    },
    /// The number is not zero, and its magnitude is above 9.9999999999999999999999999999999999999e125 or
    /// below 1e-130.
    #[error(
        "the number is out of range: its magnitude must be zero or from 1e{NUMBER_EXPONENT_MIN} \
         to just under 1e{}", NUMBER_EXPONENT_MAX + 1
    )]
    OutOfRange,
    /// The text is longer than [`NUMBER_BYTES_MAX`].
    #[error("the number is written with {bytes} bytes, the limit is {NUMBER_BYTES_MAX}")]
    TooLong {
        /// The length of the text, in bytes.
        bytes: usize,
    },
}

impl Number {
    /// Reads a number by the grammar of JSON (RFC 8259, section 6), with no blanks around it.
    ///
    /// # Errors
    ///
    /// The text is not a number, is too long, or is a number beyond the digits or the range of DynamoDB.
    pub fn parse(text: &str) -> Result<Self, NumberError> {
        let value = Decimal::parse(text)?;
        Ok(Self { text: text.into(), value })
    }

    /// The number as it was sent.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Number({})", self.text)
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Eq for Number {}

impl Hash for Number {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.value.hash(state);
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        let mut coefficient = u128::from(value.unsigned_abs());
        let mut exponent = 0;
        while coefficient != 0 && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        let text = value.to_string().into();
        Self { text, value: Decimal { negative: value < 0, coefficient, exponent } }
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Self::from(i64::from(value))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let value = Decimal::parse(raw.get()).map_err(D::Error::custom)?;
        Ok(Self { text: raw.into(), value })
    }
}

/// The value `coefficient * 10^exponent` in the one form each value has: the coefficient does not end in
/// zero, and zero itself is positive with exponent zero. So equal values have equal fields.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Decimal {
    negative: bool,
    /// Below 10^38, the digits' limit, which 128 bits can hold.
    coefficient: u128,
    exponent: i32,
}

impl Decimal {
    fn parse(text: &str) -> Result<Self, NumberError> {
        // With the length bounded first, no counter below can overflow; only the exponent's digits can.
        if text.len() > NUMBER_BYTES_MAX {
            return Err(NumberError::TooLong { bytes: text.len() });
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
            return Err(NumberError::NotANumber);
        }
        let mut exponent = 0;
        if bytes.next_if_eq(&b'.').is_some() {
            let fraction_digits = mantissa.take_digits(&mut bytes);
            if fraction_digits == 0 {
                return Err(NumberError::NotANumber);
            }
            exponent -= fraction_digits;
        }
        if bytes.next_if(|byte| matches!(byte, b'e' | b'E')).is_some() {
            exponent += take_exponent(&mut bytes)?;
        }
        if bytes.next().is_some() {
            return Err(NumberError::NotANumber);
        }

        if mantissa.coefficient == 0 {
            return Ok(Self { negative: false, coefficient: 0, exponent: 0 });
        }
        if mantissa.digits > NUMBER_DIGITS_MAX {
            return Err(NumberError::TooManyDigits { digits: mantissa.digits });
        }
        exponent += mantissa.zeros as i32;
        let exponent_of_first_digit = exponent + mantissa.digits as i32 - 1;
        if !(NUMBER_EXPONENT_MIN..=NUMBER_EXPONENT_MAX).contains(&exponent_of_first_digit) {
            return Err(NumberError::OutOfRange);
        }
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
                if self.digits <= NUMBER_DIGITS_MAX {
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
fn take_exponent(bytes: &mut Bytes<'_>) -> Result<i32, NumberError> {
    const FAR_OUT_OF_RANGE: i32 = 1_000_000;

    let sign = bytes.next_if(|byte| matches!(byte, b'+' | b'-'));
    let mut digits = bytes.peek().filter(|byte| byte.is_ascii_digit()).map(|_| 0_i32);
    while let Some(byte) = bytes.next_if(u8::is_ascii_digit) {
        digits = digits.map(|digits| (digits * 10 + i32::from(byte - b'0')).min(FAR_OUT_OF_RANGE));
    }
    let magnitude = digits.ok_or(NumberError::NotANumber)?;
    Ok(if sign == Some(b'-') { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_in_range_keeps_its_text() {
        let nines = "9".repeat(38);
        let short = "0 -0 0.0 4 -4 2.1 2.10 1000 0.001 1e100 1E+2 1e-2 1e0007 1e-130 -1e-130 0.1e-129 \
            1000e-133 0e99999999999999 9.9999999999999999999999999999999999999e125";
        let zeros = "0".repeat(125);
        let long = format!("{nines} {nines}000.000 0.000{nines} 1{zeros} 0.{zeros}");
        for text in short.split_whitespace().chain(long.split_whitespace()) {
            let number = Number::parse(text).expect(text);
            assert_eq!(number.as_str(), text);
            assert_eq!(number.to_string(), text);
            assert_eq!(serde_json::to_string(&number).expect(text), text);
            assert_eq!(serde_json::from_str::<Number>(text).expect(text).as_str(), text);
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let texts = "- +1 01 -01 00 .5 1. 1.e2 1e 1e+ 1e- 1e1.0 --1 1,5 0x10 1_000 NaN Infinity -Infinity \
            null \"4\" 1e5e5 1.2.3 ٤ 1é";
        for text in texts.split_whitespace().chain(["", " 1", "1 ", "1\n"]) {
            assert_eq!(Number::parse(text), Err(NumberError::NotANumber), "{text}");
            let is_padded = text.trim() != text;
            assert!(is_padded || serde_json::from_str::<Number>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_beyond_a_limit_is_refused_with_the_limits_name() {
        use NumberError::*;

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
            assert_eq!(Number::parse(&text), Err(error), "{text}");
            assert!(serde_json::from_str::<Number>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_equal_by_value() {
        let number = |text: &str| Number::parse(text).expect(text);
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
            assert_eq!(Number::from(value), number(&value.to_string()));
        }
        assert_eq!(Number::from(u32::MAX).as_str(), "4294967295");
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
            let plain = Number::parse(&format!("{coefficient}e{exponent}")).expect("in range");
            prop_assert_eq!(&Number::parse(&moved).expect("in range"), &plain);
            let other_number = Number::parse(&format!("{other}e{exponent}")).expect("in range");
            prop_assert_eq!(other_number == plain, other == coefficient);
        }

        #[test]
        fn a_text_is_a_number_only_where_serde_json_agrees(text in "[-+0-9.eE]{0,12}") {
            let well_formed = serde_json::from_str::<&RawValue>(&text).is_ok();
            prop_assert_eq!(Number::parse(&text) != Err(NumberError::NotANumber), well_formed);
        }
    }
}
