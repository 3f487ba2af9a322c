//! The run: lab, images, operator, then the scenarios one by one.

use std::fs;
use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use skerry_e2e::lab::{Lab, Shape};
use skerry_e2e::scenario::{
    Kube, OPERATOR_NAMESPACE, Outcome, Scenario, Setup, Stage, dump, install, is_interrupted, last_warnings, markdown,
    mend, remove, retag, table,
};

use crate::Args;

/// Two hosts in two of the zones, so that a lost host has another beside it.
const SHAPE: Shape = Shape { hosts: 5, zones: 3 };
const IMAGES: [&str; 3] = ["skerry-node", "skerry-operator", "skerry-check"];

/// Runs the scenarios. Returns true if all have passed.
pub(crate) fn run(args: &Args, scenarios: &[Scenario]) -> Result<bool> {
    let repository = fs::canonicalize(&args.repository).context("failed to find the repository")?;
    let setup = Setup { repository, tag: args.tag.clone(), rows: args.rows, is_brief: args.brief };
    for image in IMAGES {
        let tar = args.images.join(format!("{image}.tar"));
        ensure!(tar.try_exists()?, "there is no {}: `make images-e2e` makes it", tar.display());
    }
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
    let mut outcomes = Vec::new();
    for (i, scenario) in scenarios.iter().enumerate() {
        if is_interrupted() {
            break;
        }
        tell(&format!("{}/{} {}: {}", i + 1, scenarios.len(), scenario.name, scenario.claim));
        let outcome = one(lab, args, setup, scenario);
        let seconds = outcome.took.as_secs();
        match &outcome.failure {
            None => tell(&format!("{} passed in {seconds} s", scenario.name)),
            Some(failure) => tell(&format!("{} FAILED after {seconds} s: {failure}", scenario.name)),
        }
        outcomes.push(outcome);
        // After each: a run that is cut off has told what it knew.
        if let Some(file) = &args.markdown {
            fs::write(file, markdown(&outcomes)).with_context(|| format!("failed to write {}", file.display()))?;
        }
    }
    let failed = outcomes.iter().filter(|o| o.failure.is_some()).count();
    let (passed, skipped) = (outcomes.len() - failed, scenarios.len() - outcomes.len());
    writeln!(io::stdout(), "{}", table(&outcomes))?;
    // Once more at the end: where only the last lines of a long output are kept, they say why.
    for (name, failure) in outcomes.iter().filter_map(|o| o.failure.as_ref().map(|failure| (o.name, failure))) {
        writeln!(io::stdout(), "{name} FAILED: {failure}")?;
        for line in last_warnings(&args.out.join(name)) {
            writeln!(io::stdout(), "  {line}")?;
        }
    }
    writeln!(io::stdout(), "scenarios: {passed} passed; {failed} failed; {skipped} skipped")?;
    Ok(passed == scenarios.len())
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
    let tidied = mend(lab, setup).and_then(|()| if keeps { Ok(()) } else { remove(lab, &namespace) });
    if let (Err(error), None) = (tidied, &outcome.failure) {
        outcome.failure = Some(format!("failed to tidy up: {error:#}"));
    }
    outcome
}

fn tell(line: &str) {
    // That nobody reads it is no failure of the run.
    let _ = writeln!(io::stderr(), "e2e: {line}");
}
