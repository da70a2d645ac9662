//! Times: Unix milliseconds inside, RFC 3339 UTC with milliseconds (`2026-11-21T10:58:00.123Z`) in JSON.
//!
//! The days-from-civil arithmetic on eras of 400 years is described at
//! <https://howardhinnant.github.io/date_algorithms.html>.

/// Characters of a formatted time.
pub const TEXT_LEN: usize = 24;

const MS_PER_DAY: i64 = 86_400_000;
/// 0000-01-01T00:00:00.000Z
const FIRST: i64 = -62_167_219_200_000;
/// 9999-12-31T23:59:59.999Z
const LAST: i64 = 253_402_300_799_999;

/// The text is not an RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time: RFC 3339 is expected, such as 2026-11-21T10:58:00.123Z")]
pub struct NotATime;

/// Writes Unix milliseconds. What four digits of a year cannot hold becomes the nearest time that they can.
pub fn format(millis: i64) -> [u8; TEXT_LEN] {
    let millis = millis.clamp(FIRST, LAST);
    let (year, month, day) = civil(millis.div_euclid(MS_PER_DAY));
    let ms = millis.rem_euclid(MS_PER_DAY);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let mut put = |at: usize, width: usize, mut value: i64| {
        for slot in out[at..at + width].iter_mut().rev() {
            *slot = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, ms / 3_600_000);
    put(14, 2, ms / 60_000 % 60);
    put(17, 2, ms / 1000 % 60);
    put(20, 3, ms % 1000);
    out
}

/// Reads any RFC 3339 time: other offsets too, and up to nine digits of a second, of which three are kept.
///
/// # Errors
/// [`NotATime`]. A leap second (`:60`) is one: Unix time has none.
pub fn parse(text: &str) -> Result<i64, NotATime> {
    let bytes = text.as_bytes();
    let number = |at: usize, width: usize| -> Result<i64, NotATime> {
        let digits = bytes.get(at..at + width).ok_or(NotATime)?;
        digits.iter().try_fold(0, |sum, byte| match byte {
            b'0'..=b'9' => Ok(sum * 10 + i64::from(byte - b'0')),
            _ => Err(NotATime),
        })
    };
    let expect = |at: usize, set: &[u8]| match bytes.get(at) {
        Some(byte) if set.contains(byte) => Ok(*byte),
        _ => Err(NotATime),
    };
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    for (at, set) in [(4, b"-" as &[u8]), (7, b"-"), (10, b"Tt "), (13, b":"), (16, b":")] {
        expect(at, set)?;
    }
    if !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) {
        return Err(NotATime);
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(NotATime);
    }
    let mut at = 19;
    let mut ms = 0;
    if bytes.get(at) == Some(&b'.') {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=9).contains(&digits) {
            return Err(NotATime);
        }
        let kept = digits.min(3);
        ms = number(at + 1, kept)? * [0, 100, 10, 1][kept];
        at += 1 + digits;
    }
    let offset = match expect(at, b"Zz+-")? {
        b'Z' | b'z' => {
            at += 1;
            0
        }
        sign => {
            expect(at + 3, b":")?;
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return Err(NotATime);
            }
            at += 6;
            let minutes = hours * 60 + minutes;
            if sign == b'-' { -minutes } else { minutes }
        }
    };
    if at != bytes.len() {
        return Err(NotATime);
    }
    let of_day = ((hour * 60 + minute - offset) * 60 + second) * 1000 + ms;
    // An offset may lead out of the years that can be written again.
    Some(days(year, month, day) * MS_PER_DAY + of_day)
        .filter(|ms| (FIRST..=LAST).contains(ms))
        .ok_or(NotATime)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March put the leap day last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The reverse of [`days`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `#[serde(with)]` for a time that is always there.
pub mod rfc3339 {
    /// Writes Unix milliseconds as text.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: serde::Serializer>(millis: &i64, to: S) -> Result<S::Ok, S::Error> {
        let text = super::format(*millis);
        to.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }

    struct Text;
    impl serde::de::Visitor<'_> for Text {
        type Value = i64;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an RFC 3339 time")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<i64, E> {
            super::parse(text).map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }

    /// Reads text as Unix milliseconds.
    ///
    /// # Errors
    /// Text that is no RFC 3339 time, or something else than text.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        from.deserialize_str(Text)
    }
}

/// `#[serde(with)]` for a time that may be absent.
pub mod rfc3339_option {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(transparent)]
    struct Time(#[serde(with = "super::rfc3339")] i64);

    /// Writes Unix milliseconds as text.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: serde::Serializer>(millis: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
        serde::Serialize::serialize(&millis.map(Time), to)
    }

    /// Reads text as Unix milliseconds.
    ///
    /// # Errors
    /// Text that is no RFC 3339 time, or something else than text and `null`.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        let time: Option<Time> = serde::Deserialize::deserialize(from)?;
        Ok(time.map(|time| time.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(millis: i64) -> String {
        String::from_utf8(format(millis).to_vec()).unwrap()
    }

    #[test]
    fn known_times() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_000_000_000_123, "2001-09-09T01:46:40.123Z"),
            (1_795_258_680_123, "2026-11-21T10:58:00.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (FIRST, "0000-01-01T00:00:00.000Z"),
            (LAST, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(text(millis), expected);
            assert_eq!(parse(expected), Ok(millis));
        }
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(i64::MIN), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn other_spellings() {
        for same in [
            "2026-11-21T10:58:00.123Z",
            "2026-11-21t10:58:00.1239z",
            "2026-11-21T11:58:00.123+01:00",
            "2026-11-21 05:28:00.123456789-05:30",
        ] {
            assert_eq!(parse(same), Ok(1_795_258_680_123), "{same}");
        }
        assert_eq!(parse("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(parse("1970-01-01T00:00:00.5Z"), Ok(500));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2026",
            "2026-11-21",
            "2026-11-21T10:58:00",
            "2026-11-21T10:58:00.Z",
            "2026-11-21T10:58:00.0123456789Z",
            "2026-11-21T10:58:00Zx",
            "2026-11-21T10:58:60Z",
            "2026-11-21T24:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-11-31T00:00:00Z",
            "2026-11-21T10:58:00+1:00",
            "2026-11-21T10:58:00+24:00",
            "２026-11-21T10:58:00Z",
            "-026-11-21T10:58:00Z",
            "9999-12-31T23:59:59-00:01",
            "0000-01-01T00:00:00+00:01",
        ] {
            assert_eq!(parse(text), Err(NotATime), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(millis in FIRST..=LAST) {
            prop_assert_eq!(parse(&text(millis)), Ok(millis));
        }

        #[test]
        fn text_sorts_as_time_does(a in FIRST..=LAST, b in FIRST..=LAST) {
            prop_assert_eq!(a.cmp(&b), text(a).cmp(&text(b)));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
