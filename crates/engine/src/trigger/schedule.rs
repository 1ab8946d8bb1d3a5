//! The times of a schedule, in local time across changes of the clock.
//!
//! A cron expression names local times. Where the clock goes back, a local time comes twice, and where it goes forward,
//! some do not come. If the expression names hours, each local time that it names counts once: the first of two, and for
//! one that does not come the moment at which the clock went forward. If it says `*` for the hours, it means how much time
//! passes: both of two count, and one that does not come does not.

use std::time::Duration;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration, Timestamp, ToSpan as _, Zoned,
    civil::{self, DateTime},
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use serde_json::json;

use super::Event;
use signoff_api::{
    Digest, HumanDuration, canonical,
    trigger::{Missed, ScheduleTrigger},
};

/// Longest jitter.
const LONGEST_JITTER: Duration = Duration::from_secs(3_600);
/// How late a time may be noticed that is not missed: a new leader needs this long at most.
const GRACE: SignedDuration = SignedDuration::from_mins(2);
/// From here on it is looked whether a schedule has times at all.
const FIRST: DateTime = civil::date(2026, 1, 1).at(0, 0, 0, 0);
/// Longer than any change of a clock.
const CHANGE: SignedDuration = SignedDuration::from_hours(26);

/// Times.
#[derive(Clone, Debug)]
pub struct SchedulePlan {
    cron: Cron,
    text: String,
    zone: TimeZone,
    /// The name of the time zone.
    zone_name: String,
    /// Whether the hours are `*`.
    every_hour: bool,
    jitter: Duration,
    missed: Missed,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The time for which a run starts now.
    pub run: Option<Timestamp>,
    /// The last time that has come.
    pub last: Option<Timestamp>,
    /// The first of the times for which no run starts, because they were missed.
    pub missed: Option<Timestamp>,
    /// The next time.
    pub next: Option<Timestamp>,
    /// When the run of the next time starts.
    pub wake_at: Option<Timestamp>,
}

impl SchedulePlan {
    /// Reads a schedule.
    ///
    /// # Errors
    /// The fields that cannot be read, with what is wrong.
    pub fn parse(schedule: &ScheduleTrigger) -> Result<Self, Vec<(&'static str, String)>> {
        let mut problems = Vec::new();
        let cron = parse_cron(&schedule.cron)
            .map_err(|message| problems.push(("cron", message)))
            .ok();
        let zone_name = schedule.time_zone.as_deref().unwrap_or("UTC");
        // the one in the binary: a machine may have none, and all replicas must have the same
        let zone = TimeZoneDatabase::bundled().get(zone_name);
        if zone.is_err() {
            let message = format!("there is no time zone {zone_name:?}; write one such as Europe/Berlin");
            problems.push(("timeZone", message));
        }
        let jitter = schedule.jitter.as_ref().map(HumanDuration::duration);
        if jitter.is_some_and(|jitter| jitter > LONGEST_JITTER) {
            problems.push(("jitter", "a jitter is at most 1h".to_owned()));
        }
        match (cron, zone, problems.is_empty()) {
            (Some(cron), Ok(zone), true) => Ok(Self {
                every_hour: is_every_hour(&schedule.cron),
                cron,
                text: schedule.cron.trim().to_owned(),
                zone,
                zone_name: zone_name.to_owned(),
                jitter: jitter.unwrap_or_default(),
                missed: schedule.missed.unwrap_or_default(),
            }),
            _ => Err(problems),
        }
    }

    /// The event that a time of a schedule is.
    pub fn event(at: Timestamp) -> Event {
        Event {
            at,
            id: at.to_string(),
            key: None,
            variables: Vec::new(),
            run: None,
            requesters: vec![],
            depth: None,
            sha256: None,
        }
    }

    pub(super) fn digest(&self) -> Digest {
        canonical::digest_of_value(&json!({ "cron": self.text, "timeZone": self.zone_name }))
    }

    /// How long after the times meant its runs start. `who` is the trigger, so that those of one time differ.
    pub fn delay(&self, who: &str) -> SignedDuration {
        let jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        let digest = Digest::of(who.as_bytes());
        let number = u64::from_str_radix(digest.short(), 16).unwrap_or_default();
        let millis = number.checked_rem(jitter).unwrap_or_default();
        SignedDuration::from_millis(i64::try_from(millis).unwrap_or_default())
    }

    /// What is due now, of the times after `after`, each delayed by this much.
    pub fn due(&self, after: Timestamp, now: Timestamp, delay: SignedDuration) -> Due {
        let until = now.checked_sub(delay).unwrap_or(now);
        let last = self.last_until(until).filter(|last| *last > after);
        let next = self.next_after(last.unwrap_or(after).max(until));
        let wake_at = next.and_then(|next| next.checked_add(delay).ok());
        let first = last.and_then(|_| self.next_after(after));
        let is_late = last.is_some_and(|last| until.duration_since(last) > GRACE);
        let run = match self.missed {
            Missed::Skip if is_late => None,
            Missed::Skip | Missed::RunOnce => last,
        };
        Due {
            run,
            last,
            missed: first.filter(|first| Some(*first) != run),
            next,
            wake_at,
        }
    }

    /// The first time after this one.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let local = self.zone.to_datetime(after);
        let from = if self.changes_near(after) {
            local.checked_sub(CHANGE).ok()?
        } else {
            local
        };
        let mut best: Option<Timestamp> = None;
        let mut time = self.cron.find_next_occurrence(&in_utc(from)?, true).ok()?;
        loop {
            let moments = self.moments(time.datetime());
            for moment in moments.iter().flatten().filter(|moment| **moment > after) {
                best = Some(best.map_or(*moment, |best| best.min(*moment)));
            }
            // those of later local times are later still
            if moments[0].is_some_and(|first| first > after) {
                return best;
            }
            time = self.cron.find_next_occurrence(&time, false).ok()?;
        }
    }

    /// The last time until this one.
    fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        let local = self.zone.to_datetime(until);
        let from = if self.changes_near(until) {
            local.checked_add(CHANGE).ok()?
        } else {
            local
        };
        let mut best: Option<Timestamp> = None;
        let mut time = self.cron.find_previous_occurrence(&in_utc(from)?, true).ok()?;
        loop {
            let moments = self.moments(time.datetime());
            for moment in moments.iter().flatten().filter(|moment| **moment <= until) {
                best = Some(best.map_or(*moment, |best| best.max(*moment)));
            }
            // those of earlier local times are earlier still
            let latest = moments[1].or(moments[0]);
            if latest.is_some_and(|latest| latest <= until) {
                return best;
            }
            time = self.cron.find_previous_occurrence(&time, false).ok()?;
        }
    }

    /// The moments at which a local time counts, the earlier one first.
    fn moments(&self, local: DateTime) -> [Option<Timestamp>; 2] {
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(local).ok();
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => [at(offset), None],
            AmbiguousOffset::Fold { before, after } => [at(before), at(after).filter(|_| self.every_hour)],
            // with the offset from before, a time that does not come is one after the change
            AmbiguousOffset::Gap { .. } if self.every_hour => [None, None],
            AmbiguousOffset::Gap { before, .. } => {
                let beyond = at(before);
                // for the first time that does not come this is the change itself
                let later = beyond.and_then(|beyond| beyond.checked_add(1.second()).ok());
                let change = later.and_then(|later| self.zone.preceding(later).next());
                [change.map(|change| change.timestamp()).or(beyond), None]
            }
        }
    }

    /// Whether the clock is changed near this moment.
    fn changes_near(&self, moment: Timestamp) -> bool {
        let (Ok(from), Ok(to)) = (moment.checked_sub(CHANGE), moment.checked_add(CHANGE)) else {
            return true;
        };
        self.zone
            .following(from)
            .next()
            .is_some_and(|change| change.timestamp() <= to)
    }
}

/// A local time as a library has it that knows only times in a zone: in one whose clock never changes.
fn in_utc(local: DateTime) -> Option<Zoned> {
    let second = local.with().subsec_nanosecond(0).build().ok()?;
    second.to_zoned(TimeZone::UTC).ok()
}

fn parse_cron(text: &str) -> Result<Cron, String> {
    if text.split_ascii_whitespace().count() > 5 {
        return Err("a schedule has five fields, from minutes to days of the week; it starts a run at most once a minute".to_owned());
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Disallowed)
        .year(Year::Disallowed)
        .build();
    let cron = parser
        .parse(text)
        .map_err(|error| format!("not a cron expression: {error}"))?;
    let first = in_utc(FIRST).and_then(|first| cron.find_next_occurrence(&first, true).ok());
    // a leap day that is a certain day of the week comes every 40 years at most
    let last = FIRST.checked_add(41.years()).ok();
    match first {
        Some(first) if last.is_none_or(|last| first.datetime() < last) => Ok(cron),
        _ => Err("there is no such date, so it would never start a run".to_owned()),
    }
}

/// Whether the hours of an expression are all of them, or every few.
fn is_every_hour(text: &str) -> bool {
    let text = text.trim();
    let hours = text.split_ascii_whitespace().nth(1);
    text.eq_ignore_ascii_case("@hourly") || hours.is_some_and(|hours| hours.starts_with('*'))
}
