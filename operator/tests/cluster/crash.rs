//! After every single write the operator dies, or hears an error though the write was made, or the write is not made:
//! each time what is wanted is reached, and nothing is broken on the way.

use crate::faults::Fault;
use crate::scenario::{self, Scenario};

const FAULTS: [Fault; 3] = [Fault::Death, Fault::LostAnswer, Fault::LostWrite];

/// Every write of the scenario goes wrong once, in every way. Prints a line of the table.
async fn survives(scenario: Scenario) {
    let prepared = scenario.prepare().await;
    let plain = scenario.run(&prepared, None).await;
    let mut points = Vec::new();
    let mut looks_max = plain.looks;
    for fault in FAULTS {
        let mut point = 0;
        loop {
            let outcome = scenario.run(&prepared, Some((fault, point + 1))).await;
            if !outcome.faulty {
                break;
            }
            looks_max = looks_max.max(outcome.looks);
            point += 1;
        }
        points.push(point);
    }
    crate::print_row(&format!(
        "| {:42} | {:3} deaths | {:3} lost answers | {:3} lost writes | {:3} looks, at most {:3} | reached |",
        scenario.name, points[0], points[1], points[2], plain.looks, looks_max
    ));
}

macro_rules! survives {
    ($($name:ident: $scenarios:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            for scenario in $scenarios {
                survives(scenario).await;
            }
        }
    )*};
}

survives! {
    database_is_founded_once_whatever_write_fails: [scenario::bootstrap()];
    scale_out_is_reached_whatever_write_fails: [scenario::scale_out()];
    scale_in_is_reached_whatever_write_fails: [scenario::scale_in()];
    scale_in_that_is_taken_back_is_turned_round_whatever_write_fails:
        [1, 2, 4, 6, 8, 11].map(scenario::scale_in_taken_back);
    replication_factor_goes_up_and_down_whatever_write_fails: [scenario::more_copies_and_fewer()];
    restart_is_reached_whatever_write_fails: [scenario::restart(), scenario::other_image()];
    broken_image_is_corrected_whatever_write_fails: [scenario::broken_image()];
    lost_volume_is_replaced_whatever_write_fails: [scenario::host_lost(), scenario::volume_lost()];
    volumes_become_what_the_spec_says_whatever_write_fails:
        [scenario::larger_volumes(), scenario::volumes_given_up(), scenario::volumes_set_aside()];
    zone_is_removed_whatever_write_fails: ["Retain", "Delete"].map(scenario::zone_removed);
    what_was_deleted_by_hand_comes_back_whatever_write_fails: [scenario::set_deleted_by_hand()];
    deleted_database_is_taken_up_again_whatever_write_fails: [scenario::deletion(), scenario::taken_up_again()];
}
