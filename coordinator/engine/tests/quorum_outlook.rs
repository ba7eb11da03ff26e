//! What would have to change, in words: policies and votes in, phrases out.
#![expect(clippy::unwrap_used, reason = "test code")]

use engine::quorum::{Decision, Policy, RegionSet, Tally};
use model::RegionId;

/// Regions and how each votes: `!` fails, `?` fails perhaps, `-` is live without a vote, `x` is offline, nothing passes.
fn outlook(policy: &str, votes: &str) -> String {
    let marked: Vec<(&str, char)> = votes
        .split(' ')
        .map(|word| {
            let id = word.trim_end_matches(['!', '?', '-', 'x']);
            (id, word[id.len()..].chars().next().unwrap_or(' '))
        })
        .collect();
    let regions: Vec<_> = marked.iter().map(|(id, _)| RegionId::new(id).unwrap()).collect();
    let those = |marks: &str| -> RegionSet {
        (0..marked.len()).filter(|index| marks.contains(marked[*index].1)).collect()
    };
    let tally = Tally { eligible: those(" !?"), failing: those("!"), doubtful: those("!?-") };
    let quorum = policy.parse::<Policy>().unwrap().over(&regions);
    let decision = match quorum.decide(tally) {
        Decision::Up => "up".to_owned(),
        Decision::Down => "down".to_owned(),
        Decision::Undecided(why) => quorum.reason(why),
    };
    let outlook = quorum.outlook(tally, &regions);
    let mut text = format!("{policy}: {votes}\n    {decision}\n");
    for missing in outlook.missing {
        text += &format!("    results from {missing}\n");
    }
    text += &outlook.down_if.map(|failures| format!("    down if {failures}\n")).unwrap_or_default();
    text + &outlook.up_if.map(|passes| format!("    up if {passes}\n")).unwrap_or_default()
}

#[test]
fn an_outlook_names_the_regions_that_would_change_the_decision() {
    let many = (0..12).map(|n| format!("r{n:02}")).collect::<Vec<_>>().join(" ");
    let cases = [
        ("any", "local"),
        ("any", "local!"),
        ("any", "ap eu us-"),
        ("majority", "ap eu us"),
        ("majority", "ap eu! us"),
        ("majority", "ap eu! us?"),
        ("majority", "ap! eu! us"),
        ("majority", "ap! eux usx"),
        ("majority", "ap-- eu us- za za2"),
        ("at_least:2", "ap! eu? us? za"),
        ("all", "ap! eu us!"),
        ("all", "ap! eu! us!"),
        ("all", "ap! eu! us-"),
        ("all", "ap! eux usx"),
        ("percent:60", "a! b! c d e"),
        ("majority", &many),
        ("2 of eu-* and 1 of other", "ap eu-north eu-south eu-west us"),
        ("2 of eu-* and 1 of other", "ap eu-north! eu-south eu-west us"),
        ("2 of eu-* and 1 of other", "ap eu-north! eu-south! eu-west us?"),
        ("2 of eu-* and 1 of other", "ap! eu-north! eu-south! eu-west us"),
        ("2 of eu-* and 1 of other", "apx eu-north! eu-south! eu-west usx"),
        ("2 of eu-* and 1 of other", "apx eu-north eu-south eu-westx usx"),
        ("2 of eu-* and 1 of other", "apx eu-northx eu-south eu-westx us-"),
        ("2 of eu-*", "eu-north eu-south us!"),
    ];
    let text: String = cases.iter().map(|(policy, votes)| outlook(policy, votes)).collect();
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("quorum_outlook", text);
    });
}
