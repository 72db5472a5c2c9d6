//! The times of certificates: seconds since 1970.

use super::der::{self, Element, Malformed};

/// Reads a time as RFC 5280 section 4.1.2.5 wants it: `YYMMDDHHMMSSZ` or, from 2050 on, `YYYYMMDDHHMMSSZ`.
pub(super) fn read(time: &Element) -> Result<i64, Malformed> {
    let (year, rest) = match time.tag {
        der::UTC_TIME => {
            let (digits, rest) = time.content.split_at_checked(2).ok_or(Malformed)?;
            let year = number(digits)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        der::GENERALIZED_TIME => {
            let (digits, rest) = time.content.split_at_checked(4).ok_or(Malformed)?;
            (number(digits)?, rest)
        }
        _ => return Err(Malformed),
    };
    let [mo0, mo1, d0, d1, h0, h1, mi0, mi1, s0, s1, b'Z'] = *rest else { return Err(Malformed) };
    let (month, day) = (number(&[mo0, mo1])?, number(&[d0, d1])?);
    let (hour, minute, second) = (number(&[h0, h1])?, number(&[mi0, mi1])?, number(&[s0, s1])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last_day = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return Err(Malformed),
    };
    if !(1..=last_day).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return Err(Malformed);
    }
    Ok(days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn number(digits: &[u8]) -> Result<i64, Malformed> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + i64::from(digit - b'0')),
        _ => Err(Malformed),
    })
}

/// Days since 1970 in the Gregorian calendar. Years are counted from March: with the leap day last, they are regular.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * month + 2) / 5 + day - 1;
    era * 146_097 + day_of_era - 719_468
}

/// A time as RFC 3339 writes it, in UTC.
pub(super) fn text(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400).saturating_add(719_468), seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + next_year;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn time(tag: u8, content: &str) -> Result<i64, Malformed> {
        let content = Bytes::copy_from_slice(content.as_bytes());
        read(&Element { tag, content: content.clone(), whole: content })
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        let cases = [
            ("19700101000000Z", 0, "1970-01-01T00:00:00Z"),
            ("19691231235959Z", -1, "1969-12-31T23:59:59Z"),
            ("20000229000000Z", 951_782_400, "2000-02-29T00:00:00Z"),
            ("20000301000000Z", 951_868_800, "2000-03-01T00:00:00Z"),
            ("20240228235959Z", 1_709_164_799, "2024-02-28T23:59:59Z"),
            ("21000301000000Z", 4_107_542_400, "2100-03-01T00:00:00Z"),
            ("99991231235959Z", 253_402_300_799, "9999-12-31T23:59:59Z"),
            ("00010101000000Z", -62_135_596_800, "0001-01-01T00:00:00Z"),
        ];
        for (content, seconds, expected) in cases {
            assert_eq!(time(der::GENERALIZED_TIME, content), Ok(seconds), "{content}");
            assert_eq!(text(seconds), expected);
        }
        assert!(text(i64::MAX).ends_with('Z') && text(i64::MIN).ends_with('Z'));
        for day in (-800_000..800_000).step_by(97) {
            let content = text(day * 86_400).replace(['-', ':', 'T'], "");
            if content.len() == 15 {
                assert_eq!(time(der::GENERALIZED_TIME, &content), Ok(day * 86_400), "{content}");
            }
        }
    }

    #[test]
    fn short_years_are_of_this_or_the_last_century() {
        assert_eq!(time(der::UTC_TIME, "700101000000Z"), Ok(0));
        assert_eq!(time(der::UTC_TIME, "491231235959Z"), time(der::GENERALIZED_TIME, "20491231235959Z"));
        assert_eq!(time(der::UTC_TIME, "500101000000Z"), time(der::GENERALIZED_TIME, "19500101000000Z"));
    }

    #[test]
    fn other_forms_are_refused() {
        let wrong = [
            "",
            "Z",
            "7001010000Z",
            "700101000000",
            "700101000000+0000",
            "70010100000aZ",
            "700001000000Z",
            "701301000000Z",
            "700100000000Z",
            "700132000000Z",
            "230229000000Z",
            "700431000000Z",
            "700101240000Z",
            "700101006000Z",
            "700101000060Z",
            "700101000000.5Z",
            "7x0101000000Z",
            "é00101000000Z",
        ];
        for content in wrong {
            assert_eq!(time(der::UTC_TIME, content), Err(Malformed), "{content}");
            assert_eq!(time(der::GENERALIZED_TIME, &format!("20{content}")), Err(Malformed), "{content}");
        }
        assert_eq!(time(der::INTEGER, "700101000000Z"), Err(Malformed));
    }
}
