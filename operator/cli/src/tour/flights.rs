//! The tour's data: the flights out of New York in January 2013, as keys and values of both tables, and the answers that
//! the database must give.

use std::collections::BTreeMap;
use std::io::Cursor;

use flate2::read::MultiGzDecoder;

use crate::failure::{Explain, Outcome};
use crate::import::encoding::Encoding;
use crate::import::rows::{Reading, Row, RowFormat, read};
use crate::import::template::Template;

/// Hash: one aircraft's flights lie together, in order of time.
pub(crate) const BY_AIRCRAFT: &str = "flights-by-aircraft";
/// Range: in order of the carrier.
pub(crate) const BY_CARRIER: &str = "flights-by-carrier";

const DATA: &[u8] = include_bytes!("../../../../examples/data/flights-2013-01.csv.gz");
const AIRCRAFT: &str = "{tailnum|none}";
const DEPARTURE: &str = "{year}-{month:02}-{day:02}T{hour:02}:{minute:02}/{carrier}/{flight:04}/{origin}";
const CARRIER: &str = "{carrier}/{year}-{month:02}-{day:02}T{hour:02}:{minute:02}/{flight:04}/{origin}";

/// One flight, with its key in each of the two tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flight {
    /// Partition of the flight's key in the table by aircraft.
    pub(crate) aircraft: String,
    /// Sort part of the flight's key in the table by aircraft.
    pub(crate) departure: String,
    /// The flight's key in the table by carrier.
    pub(crate) by_carrier: String,
    /// The whole row as JSON text, which is the record's value.
    pub(crate) value: String,
}

/// Reads all flights of the built-in data.
pub(crate) fn all() -> Outcome<Vec<Flight>> {
    let [aircraft, departure, carrier] = [AIRCRAFT, DEPARTURE, CARRIER].map(Template::parse);
    let (aircraft, departure, carrier) = (aircraft?, departure?, carrier?);
    let flight = |row: Row| -> Outcome<Flight> {
        Ok(Flight {
            aircraft: aircraft.fill(&row)?,
            departure: departure.fill(&row)?,
            by_carrier: carrier.fill(&row)?,
            value: row.to_json(),
        })
    };
    let reading = Reading { format: RowFormat::Csv { delimiter: b',' }, encoding: Encoding::Utf8, numeric: None };
    let rows = read(MultiGzDecoder::new(Cursor::new(DATA)), &reading);
    rows.map(|line| flight(line?.row.map_err(|(error, _)| error)?))
        .collect::<Outcome<Vec<Flight>>>()
        .doing("failed to read the tour's flights")
}

/// The aircraft that flew most often, and how often.
pub(crate) fn busiest(flights: &[Flight]) -> (String, usize) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for flight in flights.iter().filter(|f| f.aircraft != "none") {
        *counts.entry(&flight.aircraft).or_default() += 1;
    }
    let busiest = counts.into_iter().max_by_key(|(name, count)| (*count, std::cmp::Reverse(*name)));
    busiest.map(|(name, count)| (name.to_owned(), count)).unwrap_or_default()
}

/// Flights whose carrier's code begins with a letter from `first` up to, without, `beyond`.
pub(crate) fn of_carriers(flights: &[Flight], first: &str, beyond: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for flight in flights {
        let key = flight.by_carrier.as_str();
        if (first..beyond).contains(&key) {
            *counts.entry(carrier_of(key).to_owned()).or_default() += 1;
        }
    }
    counts
}

/// The carrier in a key of the table by carrier.
pub(crate) fn carrier_of(key: &str) -> &str {
    key.split('/').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_flight_has_a_key_of_its_own_in_both_tables() {
        let flights = all().unwrap();
        assert_eq!(flights.len(), 27_004);
        let by_aircraft: BTreeSet<_> = flights.iter().map(|f| (&f.aircraft, &f.departure)).collect();
        let by_carrier: BTreeSet<_> = flights.iter().map(|f| &f.by_carrier).collect();
        assert_eq!((by_aircraft.len(), by_carrier.len()), (27_004, 27_004));
    }

    #[test]
    fn answers_are_those_of_the_file() {
        let flights = all().unwrap();
        assert_eq!(busiest(&flights), ("N730MQ".to_owned(), 74));
        let expected = [("AA", 2_794), ("AS", 62), ("B6", 4_427), ("DL", 3_690)];
        assert_eq!(of_carriers(&flights, "A", "E"), expected.map(|(c, n)| (c.to_owned(), n)).into());
        assert_eq!(flights[0].by_carrier, "UA/2013-01-01T05:15/1545/EWR");
    }
}
