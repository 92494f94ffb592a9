//! What a node's `/metrics` says, in Prometheus' text format.

/// The figures of one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Metrics(String);

impl Metrics {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The value of a figure without labels.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }

    /// The values of a figure with one label, and the label's.
    pub fn labelled(&self, name: &str) -> Vec<(&str, f64)> {
        let one = |line: &'_ str| -> Option<(usize, f64)> {
            let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once("} ")?;
            labels.ends_with('"').then_some(())?;
            Some((line.len() - value.len() - 3, value.parse().ok()?))
        };
        let found = self.0.lines().filter_map(|line| one(line).map(|(end, value)| (line, end, value)));
        found.filter_map(|(line, end, value)| Some((line[..end].rsplit_once('"')?.1, value))).collect()
    }
}

#[cfg(test)]
impl Metrics {
    /// The same, with something else in place of this.
    pub fn replaced(&self, from: &str, to: &str) -> Self {
        assert!(self.0.contains(from), "{from} is in {self:?}");
        Self(self.0.replace(from, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_by_their_whole_name() {
        let metrics = Metrics::new(
            "# HELP a A figure.\n# TYPE a gauge\na_more 3\na 1.5\nb{port=\"clients\"} 7\nb{port=\"peers\"} 8\n".into(),
        );
        assert_eq!((metrics.value("a"), metrics.value("a_more")), (Some(1.5), Some(3.0)));
        assert_eq!((metrics.value("b"), metrics.value("c")), (None, None));
        assert_eq!(metrics.labelled("b"), [("clients", 7.0), ("peers", 8.0)]);
        assert!(metrics.labelled("a").is_empty());
    }
}
