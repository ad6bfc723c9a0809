//! A profile of callgrind: which function, from which source file, took how many instructions.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use crate::process::{Result, need};

/// The place of instructions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The function that the program has, with all that is inlined into it.
    pub(crate) function: String,
    /// The file that the instructions are written in.
    pub(crate) file: String,
    /// Their line.
    pub(crate) line: u32,
    /// The program or library.
    pub(crate) object: String,
}

/// Instructions by place. Those of called functions are not counted again.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    pub(crate) costs: BTreeMap<Place, u64>,
    /// How often the instruction at an address of an object ran, with its place.
    executed: HashMap<u64, (Place, u64)>,
}

/// The arguments that callgrind needs besides the name of the file.
pub(crate) const ARGUMENTS: [&str; 3] = [
    "--dump-instr=yes",
    "--compress-pos=no",
    "--compress-strings=no",
];

impl Profile {
    /// Reads callgrind's file.
    pub(crate) fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        let mut place = Place {
            function: String::new(),
            file: String::new(),
            line: 0,
            object: String::new(),
        };
        let mut is_call = false;
        for line in text.lines() {
            if line.starts_with("0x") {
                // What follows `calls=` is the cost of the function that was called.
                if !std::mem::take(&mut is_call) {
                    profile.add(line, &mut place);
                }
            } else if let Some((key, value)) = line.split_once('=') {
                match key {
                    "fn" => value.clone_into(&mut place.function),
                    "fl" | "fi" | "fe" => value.clone_into(&mut place.file),
                    "ob" => value.clone_into(&mut place.object),
                    "calls" => is_call = true,
                    _ => {}
                }
            }
        }
        profile
    }

    fn add(&mut self, line: &str, place: &mut Place) {
        let mut words = line.split(' ');
        let mut number = || words.next().unwrap_or_default();
        let (address, line, cost) = (number(), number(), number());
        let address = u64::from_str_radix(address.trim_start_matches("0x"), 16);
        let (Ok(address), Ok(line), Ok(cost)) = (address, line.parse(), cost.parse::<u64>()) else {
            return;
        };
        place.line = line;
        *self.costs.entry(place.clone()).or_default() += cost;
        let executed = self.executed.entry(address);
        executed.or_insert_with(|| (place.clone(), 0)).1 += cost;
    }

    /// Returns what this profile has more than another one.
    pub(crate) fn minus(mut self, less: &Self) -> Self {
        for (place, cost) in &mut self.costs {
            *cost = cost.saturating_sub(less.costs.get(place).copied().unwrap_or(0));
        }
        for (address, (_, count)) in &mut self.executed {
            let less = less.executed.get(address).map_or(0, |(_, count)| *count);
            *count = count.saturating_sub(less);
        }
        self
    }

    /// Returns how often the atomic instructions of `program` ran, by place: those that take a
    /// cache line away from other processors.
    ///
    /// # Errors
    /// Returns an error if objdump isn't installed.
    pub(crate) fn atomics(&self, program: &Path) -> Result<BTreeMap<Place, u64>> {
        let output = Command::new(need("objdump")?)
            .args(["--disassemble", "--no-show-raw-insn"])
            .arg(program)
            .output()?;
        let mut atomics = BTreeMap::new();
        for address in locked(&String::from_utf8_lossy(&output.stdout)) {
            if let Some((place, count)) = self.executed.get(&address)
                && Path::new(&place.object) == program
                && *count > 0
            {
                *atomics.entry(place.clone()).or_default() += count;
            }
        }
        Ok(atomics)
    }
}

/// Returns the addresses of instructions with a lock: by prefix, or an exchange with memory.
fn locked(disassembly: &str) -> impl Iterator<Item = u64> {
    disassembly.lines().filter_map(|line| {
        let (address, instruction) = line.trim_start().split_once(":\t")?;
        let is_exchange = instruction.starts_with("xchg") && instruction.contains('(');
        let is_locked = instruction.starts_with("lock ") || is_exchange;
        is_locked.then(|| u64::from_str_radix(address, 16).ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "positions: instr line\nevents: Ir\n\nob=/bin/server\nfl=/s/a.rs\nfn=a\n\
        0x10 1 5\n0x14 2 7\nfi=/s/inlined.rs\n0x18 9 3\nfe=/s/a.rs\ncfn=b\n\
        calls=1 0x40 1\n0x1c 3 100\n0x20 4 2\n";

    #[test]
    fn calls_count_where_they_lead() {
        let profile = Profile::parse(TEXT);
        assert_eq!(profile.costs.values().sum::<u64>(), 17);
        let inlined = profile.costs.iter().find(|(place, _)| place.line == 9);
        let (place, cost) = inlined.unwrap();
        assert_eq!(
            (&*place.file, &*place.function, *cost),
            ("/s/inlined.rs", "a", 3)
        );
        let rest = Profile::parse(TEXT).minus(&profile);
        assert_eq!(rest.costs.values().sum::<u64>(), 0);
    }

    #[test]
    fn a_lock_is_a_prefix_or_an_exchange_with_memory() {
        let text = "  10:\tlock incq (%rdi)\n  14:\txchg   %rax,%rbx\n  18:\txchg   %al,0x8(%rdi)\n\
            1c:\tmov    %rax,%rbx\n";
        let all: Vec<_> = locked(text).collect();
        assert_eq!(all, [0x10, 0x18]);
    }
}
