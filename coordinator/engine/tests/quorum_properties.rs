//! What holds for every quorum: its text, its decisions, and what lying regions can do about them.
#![expect(clippy::unwrap_used, reason = "test code")]

use engine::quorum::{Decision, Policy, Quorum, RegionSet, Tally};
use model::RegionId;
use proptest::prelude::*;

/// Three in Europe, two in America, one elsewhere; sorted.
const REGIONS: [&str; 6] = ["ap-south", "eu-north", "eu-south", "eu-west", "us-east", "us-west"];

fn regions() -> Vec<RegionId> {
    REGIONS.iter().map(|id| RegionId::new(id).unwrap()).collect()
}

fn counts() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("any".to_owned()),
        Just("majority".to_owned()),
        Just("all".to_owned()),
        (1_u8..=64).prop_map(|k| k.to_string()),
        (1_u8..=3).prop_map(|k| k.to_string()),
        (1_u8..=100).prop_map(|p| format!("{p}%")),
    ]
}

fn groups() -> impl Strategy<Value = String> {
    prop_oneof![
        prop_oneof![Just("eu-*"), Just("us-*"), Just("*"), Just("ap-south"), Just("*-west"), Just("?u-*")]
            .prop_map(str::to_owned),
        "[a-z0-9*?-]{1,63}",
    ]
    .prop_filter("words of the language", |glob| !["of", "and", "other"].contains(&glob.as_str()))
}

/// Any policy, in the words of the language, each a string of its own.
fn words() -> impl Strategy<Value = Vec<String>> {
    let clauses = (
        proptest::collection::vec((counts(), groups()), 1..=7),
        proptest::option::of((counts(), 0_usize..8)),
    );
    let by_group = clauses.prop_map(|(mut clauses, other)| {
        if let Some((count, at)) = other {
            clauses.insert(at.min(clauses.len()), (count, "other".to_owned()));
        }
        let clauses = clauses.into_iter().map(|(count, group)| vec![count, "of".to_owned(), group]);
        clauses.collect::<Vec<_>>().join(&"and".to_owned())
    });
    prop_oneof![
        prop_oneof![Just("any"), Just("majority"), Just("all")].prop_map(|word| vec![word.to_owned()]),
        (1_u8..=64).prop_map(|k| vec![format!("at_least:{k}")]),
        (1_u8..=100).prop_map(|p| vec![format!("percent:{p}")]),
        by_group,
    ]
}

/// Policies that the regions can satisfy.
fn policies() -> impl Strategy<Value = Policy> {
    let simple = prop_oneof![
        Just("any".to_owned()),
        Just("majority".to_owned()),
        Just("all".to_owned()),
        (1_u8..=6).prop_map(|k| format!("at_least:{k}")),
        (1_u8..=100).prop_map(|p| format!("percent:{p}")),
    ];
    let clause = prop_oneof![
        Just("any of us-*"),
        Just("2 of eu-*"),
        Just("majority of eu-*"),
        Just("all of *-west"),
        Just("all of eu-*"),
        Just("60% of *"),
        Just("1 of ap-south"),
    ];
    let grouped = (proptest::collection::vec(clause, 1..=3), proptest::option::of(counts()));
    let grouped = grouped.prop_map(|(mut clauses, other)| {
        let other = other.map(|count| format!("{count} of other"));
        clauses.extend(other.as_deref());
        clauses.join(" and ")
    });
    prop_oneof![simple, grouped].prop_filter_map("cannot be satisfied", |text| {
        text.parse::<Policy>().ok().filter(|policy| policy.validate(&regions()).is_ok())
    })
}

fn sets() -> impl Strategy<Value = RegionSet> {
    any::<[bool; 6]>().prop_map(|members| (0..6).filter(|index| members[*index]).collect())
}

/// Votes as the machine counts them: who fails is eligible and in doubt.
fn tallies() -> impl Strategy<Value = Tally> {
    (sets(), sets(), sets()).prop_map(|(eligible, failing, doubtful)| {
        let failing = failing.and(eligible);
        Tally { eligible, failing, doubtful: doubtful.or(failing) }
    })
}

/// Every region says what it says at once.
fn all_vote(failing: RegionSet) -> Tally {
    Tally { eligible: RegionSet::first(6), failing, doubtful: failing }
}

/// The sizes of a policy's clauses and how many each needs when all regions vote, worked out by trial: the size of the
/// smallest set of a clause's regions that, beside all regions outside it, satisfies the policy.
fn thresholds(policy: &Policy) -> Vec<(RegionSet, usize)> {
    let text = policy.to_string();
    let clauses: Vec<Quorum> = if text.contains(" of ") {
        let named = |clause: &str| clause.rsplit(' ').next().unwrap().to_owned();
        let names: Vec<_> = text.split(" and ").map(named).collect();
        let others = regions().into_iter().filter(|region| {
            let is_named = |name: &String| {
                let alone = format!("1 of {name}").parse::<Policy>().unwrap();
                name != "other" && alone.validate(std::slice::from_ref(region)).is_ok()
            };
            !names.iter().any(is_named)
        });
        let others: Vec<_> = others.map(|region| region.to_string()).collect();
        text.split(" and ")
            .map(|clause| {
                let clause = clause.parse::<Policy>().unwrap();
                if !clause.to_string().ends_with(" of other") {
                    return clause.over(&regions());
                }
                // `other` on its own would be everybody: the regions that are meant keep their places.
                let renamed: Vec<_> = regions()
                    .iter()
                    .map(|region| {
                        let is_other = others.contains(&region.to_string());
                        let name = format!("{}{region}", if is_other { "x-" } else { "" });
                        RegionId::new(&name).unwrap()
                    })
                    .collect();
                clause.to_string().replace(" of other", " of x-*").parse::<Policy>().unwrap().over(&renamed)
            })
            .collect()
    } else {
        vec![policy.over(&regions())]
    };
    let threshold = |clause: &Quorum| {
        let voters = clause.voters();
        let satisfies = |k: &usize| {
            let failing: RegionSet = voters.iter().take(*k).collect();
            clause.is_satisfied(failing, RegionSet::first(6))
        };
        (voters, (0..=6).find(satisfies).unwrap())
    };
    clauses.iter().map(threshold).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_text_survives_and_white_space_does_not_matter(
        words in words(),
        spaces in proptest::collection::vec("[ \t\r\n]{1,3}", 40),
    ) {
        let text = words.join(" ");
        let policy: Policy = text.parse().unwrap();
        prop_assert_eq!(policy.to_string(), text);
        let spaced: String = words.iter().zip(&spaces).flat_map(|(word, space)| [space.as_str(), word]).collect();
        prop_assert_eq!(&spaced.parse::<Policy>().unwrap(), &policy);
        prop_assert_eq!(postcard::from_bytes::<Policy>(&postcard::to_stdvec(&policy).unwrap()).unwrap(), policy);
    }

    #[test]
    fn whatever_is_no_policy_is_refused_and_whatever_is_one_survives(text in "[a-z0-9*?:% -]{0,40}|\\PC{0,40}") {
        if let Ok(policy) = text.parse::<Policy>() {
            prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        }
    }

    /// Down is what the confirmed failures prove, up what no failure could change any more: never both.
    #[test]
    fn down_and_up_exclude_each_other(policy in policies(), tally in tallies()) {
        let quorum = policy.over(&regions());
        let down = quorum.is_satisfied(tally.failing, tally.eligible);
        let all_in_doubt_fail = quorum.is_satisfied(tally.doubtful, tally.eligible);
        match quorum.decide(tally) {
            Decision::Down => prop_assert!(down && all_in_doubt_fail),
            Decision::Up => prop_assert!(!down && !all_in_doubt_fail),
            Decision::Undecided(_) => prop_assert!(!down),
        }
    }

    /// One more failure never turns down into anything else, and one fewer in doubt never ends up.
    #[test]
    fn decisions_are_monotone(policy in policies(), tally in tallies(), index in 0_usize..6) {
        let quorum = policy.over(&regions());
        let mut worse = tally;
        worse.failing.insert(index);
        worse.failing = worse.failing.and(worse.eligible);
        worse.doubtful = worse.doubtful.or(worse.failing);
        match (quorum.decide(tally), quorum.decide(worse)) {
            (Decision::Down, after) => prop_assert_eq!(after, Decision::Down),
            (before, Decision::Up) => prop_assert_eq!(before, Decision::Up),
            _ => {}
        }
    }

    /// A vote that goes stale decides nothing, and never gives back what was missing.
    #[test]
    fn silence_decides_nothing(policy in policies(), tally in tallies(), index in 0_usize..6) {
        let quorum = policy.over(&regions());
        let mut after = tally;
        if tally.eligible.contains(index) {
            after.lose(index);
        }
        // `all` asks for the failure of those who can be heard: it may be reached when one that passed no longer is.
        if quorum.decide(tally) != Decision::Down && !policy.to_string().contains("all") {
            prop_assert_ne!(quorum.decide(after), Decision::Down);
        }
        if quorum.decide(tally) != Decision::Up {
            prop_assert_ne!(quorum.decide(after), Decision::Up);
        }
        if quorum.is_short(tally) {
            prop_assert!(quorum.is_short(after));
        }
    }

    /// The true bounds, while all regions vote. Lies open an incident on a healthy target exactly if in every clause as
    /// many lie as it needs; they hide an outage that all honest regions see exactly if in some clause fewer are honest
    /// than it needs.
    #[test]
    fn lies_open_and_hide_only_beyond_the_bounds(policy in policies(), liars in sets()) {
        let quorum = policy.over(&regions());
        let thresholds = thresholds(&policy);
        let lying = |clause: &(RegionSet, usize)| clause.0.and(liars).len();
        let opens = thresholds.iter().all(|clause| lying(clause) >= clause.1);
        let hides = thresholds.iter().any(|clause| clause.0.len() - lying(clause) < clause.1);
        let expected = if opens { Decision::Down } else { Decision::Up };
        prop_assert_eq!(quorum.decide(all_vote(liars)), expected, "lies about a healthy target");
        let honest = RegionSet::first(6).without(liars);
        let expected = if hides { Decision::Up } else { Decision::Down };
        prop_assert_eq!(quorum.decide(all_vote(honest)), expected, "lies about an outage");
    }

    /// Fewer than `k` liars open nothing, whoever else falls silent: what is needed comes from the assigned regions.
    #[test]
    fn fewer_than_k_liars_open_nothing_whoever_is_silent(
        k in 1_u8..=6,
        eligible in sets(),
        liars in sets(),
    ) {
        let quorum = format!("at_least:{k}").parse::<Policy>().unwrap().over(&regions());
        let liars: RegionSet = liars.iter().take(usize::from(k) - 1).collect();
        let failing = liars.and(eligible);
        let tally = Tally { eligible, failing, doubtful: RegionSet::first(6).without(eligible).or(failing) };
        prop_assert_ne!(quorum.decide(tally), Decision::Down);
    }
}

/// How many liars each simple policy withstands: so many open nothing, so many hide nothing, of `n` regions.
#[test]
fn what_simple_policies_withstand() {
    let ids: Vec<_> = (0..7).map(|n| RegionId::new(&format!("r{n}")).unwrap()).collect();
    let withstands = |text: &str, n: usize| {
        let quorum = text.parse::<Policy>().unwrap().over(&ids[..n]);
        let everyone = RegionSet::first(n);
        let decide = |failing| quorum.decide(Tally { eligible: everyone, failing, doubtful: failing });
        let opens = |liars: &usize| decide(RegionSet::first(*liars)) == Decision::Down;
        let hides = |liars: &usize| decide(everyone.without(RegionSet::first(*liars))) == Decision::Up;
        ((0..=n).find(opens).unwrap() - 1, (0..=n).find(hides).unwrap() - 1)
    };
    for (text, n, expected) in [
        ("any", 5, (0, 4)),
        ("majority", 1, (0, 0)),
        ("majority", 2, (1, 0)),
        ("majority", 3, (1, 1)),
        ("majority", 4, (2, 1)),
        ("majority", 5, (2, 2)),
        ("majority", 6, (3, 2)),
        ("majority", 7, (3, 3)),
        ("at_least:2", 5, (1, 3)),
        ("at_least:4", 5, (3, 1)),
        ("percent:60", 5, (2, 2)),
        ("all", 5, (4, 0)),
    ] {
        assert_eq!(withstands(text, n), expected, "{text} of {n}");
    }
}
