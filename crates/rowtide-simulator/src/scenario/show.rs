//! Shows a scenario to whoever has to understand a failure.

use std::fmt;

use super::{Act, Scenario, Spec};

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tables, knobs, faults, acts, ending, .. } = self;
        for (index, table) in tables.iter().enumerate() {
            let later = if table.later { ", appears later" } else { "" };
            let policy = table.policy.map(|policy| format!(", refused values: {policy:?}"));
            let policy = policy.unwrap_or_default();
            writeln!(f, "  table t{index}: {:?}{later}{policy}", table.kind)?;
        }
        writeln!(f, "  {knobs:?}")?;
        for (step, act) in acts.iter().enumerate() {
            writeln!(f, "  {step:>3} {act}")?;
        }
        for fault in faults {
            writeln!(f, "  fault: {:?} at {:?} #{}", fault.strike, fault.site, fault.nth)?;
        }
        writeln!(f, "  ending: {ending:?}")
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin { slot } => write!(f, "begin in slot {slot}"),
            Self::Commit { slot, changes, unseen_micros } => {
                write!(f, "commit")?;
                if let Some(slot) = slot {
                    write!(f, " (slot {slot})")?;
                }
                if *unseen_micros > 0 {
                    write!(f, " (unseen for {unseen_micros} µs)")?;
                }
                changes.iter().try_for_each(|change| write!(f, " {change}"))
            }
            Self::Noise => write!(f, "noise"),
            Self::Pause { micros } => write!(f, "pause {micros} µs"),
            Self::Create { table } => write!(f, "create t{table}"),
            Self::Unpublish { table } => write!(f, "unpublish t{table}"),
            Self::Restart { end, once, resync } => {
                write!(f, "restart ({end:?}, once {once}, resync {resync:?})")
            }
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[t{}/{} {:?}]", self.table, self.key, self.want)
    }
}
