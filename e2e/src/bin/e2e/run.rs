//! The run: lab, images, operator, then the scenarios: first those that may run beside others, then the rest one by one.

use std::fs;
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use skerry_e2e::lab::{Lab, Shape};
use skerry_e2e::scenario::{
    Kube, OPERATOR_NAMESPACE, Outcome, Scenario, Setup, Stage, dump, install, is_interrupted, mend, remove, retag,
};

use crate::results::Results;
use crate::{Args, tell};

/// Two hosts in two of the zones, so that a lost host has another beside it.
const SHAPE: Shape = Shape { hosts: 5, zones: 3 };
const IMAGES: [&str; 3] = ["skerry-node", "skerry-operator", "skerry-check"];

/// The program of the command line, beside the images.
const COMMAND_LINE: &str = "skerry";

/// Runs the scenarios. Returns true if all have passed.
pub(crate) fn run(args: &Args, scenarios: &[Scenario]) -> Result<bool> {
    let repository = fs::canonicalize(&args.repository).context("failed to find the repository")?;
    let command_line = std::path::absolute(args.images.join(COMMAND_LINE)).context("failed to find the images")?;
    let images = IMAGES.iter().map(|image| args.images.join(format!("{image}.tar")));
    for file in images.chain([command_line.clone()]) {
        ensure!(file.try_exists()?, "there is no {}: `make images-e2e` makes it", file.display());
    }
    let setup = Setup { repository, tag: args.tag.clone(), command_line, rows: args.rows, is_brief: args.brief };
    let begun = Instant::now();
    tell(&format!("starting a lab of {} hosts in {} zones", SHAPE.hosts, SHAPE.zones));
    let lab = match if args.attach { Lab::attach() } else { Lab::up(&SHAPE) } {
        Ok(lab) => lab,
        Err(error) => return Err(with_removal(error, args)),
    };
    tell(&format!("the lab is up after {} s", begun.elapsed().as_secs()));
    let result = prepare(&lab, args, &setup).and_then(|()| all(&lab, args, &setup, scenarios));
    if !args.keep && !args.attach {
        tell("taking the lab down");
        lab.down()?;
        Lab::is_clean()?;
    }
    tell(&format!("{} s in all", begun.elapsed().as_secs()));
    result
}

/// A lab that did not start must not stay.
fn with_removal(error: anyhow::Error, args: &Args) -> anyhow::Error {
    if args.keep || args.attach {
        return error;
    }
    match Lab::remove() {
        Ok(()) => error,
        Err(more) => error.context(format!("and the lab could not be removed: {more:#}")),
    }
}

fn prepare(lab: &Lab, args: &Args, setup: &Setup) -> Result<()> {
    for image in IMAGES {
        lab.load_image(&args.images.join(format!("{image}.tar")))?;
    }
    fs::create_dir_all(&args.out).with_context(|| format!("failed to create {}", args.out.display()))?;
    let next = args.out.join("skerry-node-next.tar");
    retag(&args.images.join("skerry-node.tar"), &setup.tag, &setup.next_tag(), &next)?;
    lab.load_image(&next)?;
    tell("the images are loaded");
    install(&Kube::new(lab, OPERATOR_NAMESPACE), setup, &[]).context("failed to install the operator")?;
    tell("the operator is ready");
    Ok(())
}

fn all(lab: &Lab, args: &Args, setup: &Setup, scenarios: &[Scenario]) -> Result<bool> {
    let results = Mutex::new(Results::new(args, scenarios.len()));
    let run = |scenario: &Scenario| {
        locked(&results)?.begin(scenario);
        let outcome = one(lab, args, setup, scenario);
        locked(&results)?.add(outcome)
    };
    let is_beside = |scenario: &&Scenario| args.jobs > 1 && !scenario.is_alone;
    let (beside, alone): (Vec<_>, Vec<_>) = scenarios.iter().partition(is_beside);
    let queue = Mutex::new(beside.into_iter());
    let next = || anyhow::Ok(locked(&queue)?.next().filter(|_| !is_interrupted()));
    let lane = || {
        while let Some(scenario) = next()? {
            run(scenario)?;
        }
        anyhow::Ok(())
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..args.jobs).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow!("a scenario panicked"))?)
    })?;
    for scenario in alone.into_iter().take_while(|_| !is_interrupted()) {
        run(scenario)?;
    }
    results.into_inner().map_err(|_| anyhow!("a scenario panicked"))?.close()
}

fn locked<T>(shared: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    shared.lock().map_err(|_| anyhow!("a scenario panicked"))
}

fn one(lab: &Lab, args: &Args, setup: &Setup, scenario: &Scenario) -> Outcome {
    let begun = Instant::now();
    let namespace = format!("e2e-{}", scenario.name.replace('_', "-"));
    let mut outcome = Outcome {
        name: scenario.name,
        failure: None,
        took: begun.elapsed(),
        phases: Vec::new(),
        check: None,
        notes: Vec::new(),
    };
    let room = Lab::expect_room();
    let had_room = room.is_ok();
    let result = room.and_then(|()| Stage::new(lab, setup, &namespace)).and_then(|mut stage| {
        let result = (scenario.run)(&mut stage);
        if let Err(error) = &result {
            stage.tell_all();
            stage.last_word();
            let folder = args.out.join(scenario.name);
            match dump(&stage.kube, &folder, &format!("{error:#}")) {
                Ok(()) => tell(&format!("what was there is in {}", folder.display())),
                Err(error) => tell(&format!("failed to write down what was there: {error:#}")),
            }
        }
        (outcome.phases, outcome.check, outcome.notes) = (stage.phases, stage.report, stage.notes);
        result
    });
    outcome.took = begun.elapsed();
    outcome.failure = result.err().map(|error| format!("{error:#}"));
    if had_room && let (Some(failure), Err(room)) = (&mut outcome.failure, Lab::expect_room()) {
        *failure = format!("{failure}; and {room:#}");
    }
    let keeps = args.keep && outcome.failure.is_some();
    // Beside another one nobody mends: hosts and operator are as they were.
    let mended = if args.jobs > 1 && !scenario.is_alone { Ok(()) } else { mend(lab, setup) };
    let tidied = mended.and_then(|()| if keeps { Ok(()) } else { remove(lab, &namespace) });
    if let (Err(error), None) = (tidied, &outcome.failure) {
        outcome.failure = Some(format!("failed to tidy up: {error:#}"));
    }
    outcome
}
