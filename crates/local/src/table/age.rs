//! Ages as kubectl shows them: two units where that helps, such as `5m10s` or `2d3h`.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// The age of a time in RFC 3339; `<unknown>` when it is not one.
pub(super) fn since(time: &str, now: i64) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(then) => duration(now - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A number of seconds in words.
pub(super) fn duration(seconds: i64) -> String {
    let two = |big: i64, small: i64, names: (&str, &str)| {
        let (whole, rest) = (seconds / big, seconds % big / small);
        if rest == 0 {
            format!("{whole}{}", names.0)
        } else {
            format!("{whole}{}{rest}{}", names.0, names.1)
        }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(MINUTE, 1, ("m", "s")),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(HOUR, MINUTE, ("h", "m")),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(DAY, HOUR, ("d", "h")),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(YEAR, DAY, ("y", "d")),
        _ => format!("{}y", seconds / YEAR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_shown_as_kubectl_shows_them() {
        let shown: Vec<String> = [
            -5,
            0,
            119,
            120,
            130,
            3600,
            3 * HOUR,
            3 * HOUR + 60,
            2 * DAY,
            3 * DAY + HOUR,
            400 * DAY,
            3 * YEAR,
        ]
        .into_iter()
        .map(duration)
        .collect();
        let expected = [
            "<invalid>",
            "0s",
            "119s",
            "2m",
            "2m10s",
            "60m",
            "3h",
            "3h1m",
            "2d",
            "3d1h",
            "400d",
            "3y",
        ];
        assert_eq!(shown, expected);
    }
}
