//! An expression in plain words, where few of them say it exactly: `every weekday at 06:00`.

use super::{
    Cron, Field, Set,
    days::Day,
    parse::{MONTHS, WEEKDAYS},
};

/// So many times of day, dates or months are named one by one.
const NAMED_MAX: usize = 4;
const MONDAY_TO_FRIDAY: [i8; 5] = [2, 3, 4, 5, 6];
const EVERY_DAY: &str = "every day";

impl Cron {
    /// Its moments in plain words; `None` when these would be many, so that the expression itself says it better.
    pub fn in_words(&self) -> Option<String> {
        if self.years != Field::Year.all() {
            return None;
        }
        let day = together(&self.days)?.in_words(self.named_months()?)?;
        if let Some(times) = self.named_times() {
            return Some(format!("{day} at {times}"));
        }
        let rate = self.rate()?;
        match day == EVERY_DAY {
            true => Some(rate),
            false => Some(format!("{rate}, {day}")),
        }
    }

    /// Empty for all.
    fn named_months(&self) -> Option<String> {
        match &self.months.values()[..] {
            all if all.len() == MONTHS.len() => Some(String::new()),
            some if some.len() <= NAMED_MAX => Some(listed(some, |month| name(&MONTHS, month))),
            _ => None,
        }
    }

    /// The times of a day, if they are few.
    fn named_times(&self) -> Option<String> {
        let hours = self.hours.values();
        match (&self.minutes.values()[..], &self.seconds.values()[..]) {
            ([minute], [second]) if hours.len() <= NAMED_MAX => {
                Some(listed(&hours, |hour| time(hour, *minute, *second)))
            }
            _ => None,
        }
    }

    /// How often on a day, if always after the same time, and between which times unless all day long.
    fn rate(&self) -> Option<String> {
        let hours = self.hours.values();
        let (minutes, seconds) = (self.minutes.values(), self.seconds.values());
        let hours_apart = distance(&hours)?;
        let rate = match (&minutes[..], &seconds[..]) {
            ([_], [_]) => every(hours_apart, "hour"),
            (_, [_]) if hours_apart == 1 => every(distance_around(&minutes)?, "minute"),
            (all, _) if hours_apart == 1 && all.len() == 60 => {
                every(distance_around(&seconds)?, "second")
            }
            _ => return None,
        };
        let first = (*hours.first()?, *minutes.first()?, *seconds.first()?);
        if first == (0, 0, 0) && hours_apart * i8::try_from(hours.len()).ok()? == 24 {
            return Some(rate);
        }
        let first = time(first.0, first.1, first.2);
        let last = time(*hours.last()?, *minutes.last()?, *seconds.last()?);
        Some(format!("{rate} from {first} to {last}"))
    }
}

impl Day {
    /// On which days, in months of which these are the names; without names, in all.
    fn in_words(self, months: String) -> Option<String> {
        let (of, within) = match months.is_empty() {
            true => (" of the month".to_owned(), String::new()),
            false => (format!(" of {months}"), format!(" in {months}")),
        };
        Some(match self {
            Self::Dates(dates) => match &dates.values()[..] {
                all if all.len() == 31 => EVERY_DAY.to_owned() + &within,
                some if some.len() <= NAMED_MAX => format!("on the {}{of}", listed(some, ordinal)),
                _ => return None,
            },
            Self::Last { before: 0 } => format!("on the last day{of}"),
            Self::Last { before: 1 } => format!("1 day before the last{of}"),
            Self::Last { before } => format!("{before} days before the last{of}"),
            Self::LastOn(weekday) => format!("on the last {}{of}", name(&WEEKDAYS, weekday)),
            Self::LastWorking { before: 0 } => format!("on the last working day{of}"),
            Self::LastWorking { .. } => return None,
            Self::Nth(weekday, n) => {
                format!("on the {} {}{of}", ordinal(n), name(&WEEKDAYS, weekday))
            }
            Self::Weekdays(days) => match &days.values()[..] {
                all if all.len() == 7 => EVERY_DAY.to_owned() + &within,
                some if some == MONDAY_TO_FRIDAY => format!("every weekday{within}"),
                some => {
                    let mut monday_first = some.to_vec();
                    monday_first.sort_by_key(|day| (day + 5) % 7);
                    let names = listed(&monday_first, |day| name(&WEEKDAYS, day));
                    format!("every {names}{within}")
                }
            },
            Self::Working(day) => {
                format!("on the working day nearest to the {}{of}", ordinal(day))
            }
        })
    }
}

impl Set {
    fn values(self) -> Vec<i8> {
        (0..60).filter(|value| self.has(*value)).collect()
    }
}

/// As one, if all are dates or all are days of the week.
fn together(days: &[Day]) -> Option<Day> {
    let (first, rest) = days.split_first()?;
    let with = |one: Day, other: &Day| match (one, *other) {
        (Day::Dates(one), Day::Dates(other)) => Some(Day::Dates(Set(one.0 | other.0))),
        (Day::Weekdays(one), Day::Weekdays(other)) => Some(Day::Weekdays(Set(one.0 | other.0))),
        _ => None,
    };
    rest.iter().try_fold(*first, with)
}

/// How far each is from the one before; `None` if not all are as far. A single one counts as one of an unbroken range.
fn distance(values: &[i8]) -> Option<i8> {
    let mut apart = values.windows(2).map(|pair| pair[1] - pair[0]);
    let Some(first) = apart.next() else {
        return Some(1);
    };
    apart.all(|other| other == first).then_some(first)
}

/// The same for values up to 59 after which they come again.
fn distance_around(values: &[i8]) -> Option<i8> {
    let apart = 60 / i8::try_from(values.len()).ok()?;
    let is_whole = 60 % values.len() == 0;
    (is_whole && values.windows(2).all(|pair| pair[1] - pair[0] == apart)).then_some(apart)
}

fn every(n: i8, unit: &str) -> String {
    match n {
        1 => format!("every {unit}"),
        _ => format!("every {n} {unit}s"),
    }
}

fn time(hour: i8, minute: i8, second: i8) -> String {
    match second {
        0 => format!("{hour:02}:{minute:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}"),
    }
}

/// The name of a number that counts from 1.
fn name<const N: usize>(names: &[&'static str; N], number: i8) -> &'static str {
    let at = usize::try_from(number - 1).unwrap_or(N);
    names.get(at).copied().unwrap_or_default()
}

fn ordinal(n: i8) -> String {
    let ending = match (n / 10, n % 10) {
        (1, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: Into<String>>(values: &[i8], word: impl Fn(i8) -> T) -> String {
    let words: Vec<String> = values.iter().map(|value| word(*value).into()).collect();
    match &words[..] {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        words => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[rustfmt::skip]
    const CASES: &[(&str, &str)] = &[
        ("0 0 6 ? * MON-FRI", "every weekday at 06:00"),
        ("0 0 6 * * ?", "every day at 06:00"),
        ("0 0 6 ? * *", "every day at 06:00"),
        ("0 0 6,18 * * ?", "every day at 06:00 and 18:00"),
        ("30 5 6 * * ?", "every day at 06:05:30"),
        ("0 6 6 ? * FR", "every Friday at 06:06"),
        ("0 0 9 ? * WED,MON,FRI", "every Monday, Wednesday and Friday at 09:00"),
        ("0 0 9 ? * SUN,SAT", "every Saturday and Sunday at 09:00"),
        ("0 0 9 ? 8 FRI", "every Friday in August at 09:00"),
        ("0 0 9 * 1,2 ?", "every day in January and February at 09:00"),
        ("0 0 9 ? 12 MON-FRI", "every weekday in December at 09:00"),
        ("0 0 18 LW * ?", "on the last working day of the month at 18:00"),
        ("0 0 18 L * ?", "on the last day of the month at 18:00"),
        ("0 0 18 L-1 * ?", "1 day before the last of the month at 18:00"),
        ("0 0 12 L-3 * ?", "3 days before the last of the month at 12:00"),
        ("0 0 9 ? * 6L", "on the last Friday of the month at 09:00"),
        ("0 0 9 ? * 6#3", "on the 3rd Friday of the month at 09:00"),
        ("0 0 9 15W * ?", "on the working day nearest to the 15th of the month at 09:00"),
        ("0 0 9 1,11,22,23 * ?", "on the 1st, 11th, 22nd and 23rd of the month at 09:00"),
        ("0 0 9 1 1,7 ?", "on the 1st of January and July at 09:00"),
        ("0 0 0 31 12 ?", "on the 31st of December at 00:00"),
        ("* * * * * ?", "every second"),
        ("0/10 * * * * ?", "every 10 seconds"),
        ("0 * * * * ?", "every minute"),
        ("0 0/5 * * * ?", "every 5 minutes"),
        ("0 0,30 * * * ?", "every 30 minutes"),
        ("0 0 * * * ?", "every hour"),
        ("0 0 0/2 * * ?", "every 2 hours"),
        ("0 0 8-18/2 * * ?", "every 2 hours from 08:00 to 18:00"),
        ("0 0 0/5 * * ?", "every 5 hours from 00:00 to 20:00"),
        ("0 20 * * * ?", "every hour from 00:20 to 23:20"),
        ("5 * * * * ?", "every minute from 00:00:05 to 23:59:05"),
        ("0 2/5 * * * ?", "every 5 minutes from 00:02 to 23:57"),
        ("0 0/20 6 * * ?", "every 20 minutes from 06:00 to 06:40"),
        ("0/30 * 6 * * ?", "every 30 seconds from 06:00 to 06:59:30"),
        ("0 0/15 8-17 ? * MON-FRI", "every 15 minutes from 08:00 to 17:45, every weekday"),
        ("0 0/15 * L * ?", "every 15 minutes, on the last day of the month"),
        ("0 0 * * 1 ?", "every hour, every day in January"),
    ];

    #[test]
    fn what_few_words_say_is_said_in_words() {
        for (quartz, words) in CASES {
            let cron = Cron::parse(quartz).unwrap();
            assert_eq!(cron.in_words().as_deref(), Some(*words), "{quartz}");
        }
    }

    #[test]
    fn what_takes_many_words_is_left_to_the_expression() {
        for quartz in [
            "0 0 0 1 1 ? 2027-2030",
            "0 1,2,7 * * * ?",
            "0 0/7 * * * ?",
            "0 0/15 6,9,12,15,18 * * ?",
            "0 0/15 22-2 * * ?",
            "0/10 0 6 * * ?",
            "0/7 * * * * ?",
            "0 0 6 L-3W * ?",
            "0 0 6 1,LW * ?",
            "0 0 6 1-20 * ?",
            "0 0 6 1 1-6 ?",
            "0 0 1,2,3,5,8 * * ?",
        ] {
            assert_eq!(Cron::parse(quartz).unwrap().in_words(), None, "{quartz}");
        }
    }

    /// Whoever reads the words knows the moments.
    #[test]
    fn the_same_words_are_of_the_same_moments() {
        let seconds = ["0", "5", "*", "3/20"];
        let minutes = ["0", "7", "*", "5/15"];
        let hours = ["0", "6", "*", "0/2", "1/2", "0/5", "8-17", "22-2"];
        let days = [
            "* M ?", "? M *", "? M 2-6", "? M 6", "? M 6L", "? M 6#1", "? M 1,7", "1 M ?",
            "1,15 M ?", "1W M ?", "L M ?", "L-1 M ?", "L-2 M ?", "LW M ?",
        ];
        let mut said: HashMap<String, Cron> = HashMap::new();
        let mut read = |text: String| {
            let cron = Cron::parse(&text).unwrap();
            if let Some(words) = cron.in_words() {
                let other = said.entry(words.clone()).or_insert_with(|| cron.clone());
                assert!(is_same(other, &cron), "{words}: {other} and {cron}");
            }
        };
        for second in seconds {
            for minute in minutes {
                for hour in hours {
                    for day in days {
                        for month in ["*", "1,7"] {
                            let day = day.replace('M', month);
                            read(format!("{second} {minute} {hour} {day}"));
                        }
                    }
                }
            }
        }
        assert!(said.len() > 500, "{}", said.len());
    }

    fn is_same(one: &Cron, other: &Cron) -> bool {
        let times = |cron: &Cron| (cron.hours, cron.minutes, cron.seconds);
        let days = |cron: &Cron, month| cron.days_in(2026, month);
        times(one) == times(other) && (1..=12).all(|month| days(one, month) == days(other, month))
    }
}
