//! Fits a line into a width: leaves out the parts and columns that matter least, and cuts nothing off. Pure.

/// Separates the parts of a line.
const SPACE: &str = "  ";

/// A part of a line. When not all fit, the part with the highest rank is left out first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    rank: u8,
    text: String,
}

/// Makes a part of this rank.
pub(super) fn part(rank: u8, text: impl Into<String>) -> Part {
    Part {
        rank,
        text: text.into(),
    }
}

/// Joins the parts that fit into so many columns.
pub(super) fn line(parts: &[Part], columns: usize) -> String {
    let filled: Vec<&Part> = parts.iter().filter(|part| !part.text.is_empty()).collect();
    let sizes = filled.iter().map(|part| {
        let size = part.text.chars().count() + SPACE.len();
        (size, part.rank)
    });
    // No separator follows the last one.
    let kept = kept(&sizes.collect::<Vec<_>>(), columns + SPACE.len());
    let texts = filled.iter().zip(kept).filter(|(_, kept)| *kept);
    let texts: Vec<&str> = texts.map(|(part, _)| part.text.as_str()).collect();
    texts.join(SPACE)
}

/// A column of a table: its width, and its rank; the highest rank is left out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) width: usize,
    pub(super) rank: u8,
}

/// Returns for each column whether it fits.
pub(super) fn columns_kept<const N: usize>(all: [Column; N], columns: usize) -> [bool; N] {
    let sizes = all.map(|column| (column.width, column.rank));
    let kept = kept(&sizes, columns);
    std::array::from_fn(|index| kept[index])
}

/// Joins the cells of the kept columns, each aligned to the right.
pub(super) fn cells<const N: usize>(
    all: [Column; N],
    kept: [bool; N],
    texts: [String; N],
) -> String {
    let mut line = String::new();
    for ((column, kept), text) in all.iter().zip(kept).zip(texts) {
        if kept {
            line += &format!("{text:>width$}", width = column.width);
        }
    }
    line
}

fn kept(sizes: &[(usize, u8)], columns: usize) -> Vec<bool> {
    let mut kept = vec![true; sizes.len()];
    loop {
        let of = |index: &usize| kept[*index];
        let total: usize = (0..sizes.len())
            .filter(of)
            .map(|index| sizes[index].0)
            .sum();
        let last = (0..sizes.len())
            .filter(of)
            .max_by_key(|index| sizes[*index].1);
        match last {
            Some(index) if total > columns => kept[index] = false,
            _ => return kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_matter_less_are_left_out_until_the_rest_fits() {
        let parts = [
            part(0, "first"),
            part(2, "least"),
            part(3, ""),
            part(1, "last"),
        ];
        assert_eq!(line(&parts, 19), "first  least  last");
        assert_eq!(line(&parts, 17), "first  last");
        assert_eq!(line(&parts, 11), "first  last");
        assert_eq!(line(&parts, 10), "first");
        assert_eq!(line(&parts, 4), "");
    }
}
