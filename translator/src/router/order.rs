//! In which order engines are asked for a pair.

use crate::{
    settings::{TranslatorSettings, pair},
    text::Lang,
};

type Side = Option<Lang>;

/// See the module's text.
pub(super) struct Order {
    usual: Vec<usize>,
    /// The more exactly one names its pair, the earlier it stands.
    special: Vec<((Side, Side), Vec<usize>)>,
}

impl Order {
    /// `names` are the engines that there are.
    pub(super) fn new(settings: &TranslatorSettings, names: &[&str]) -> Self {
        let list = |text: &str| -> Vec<usize> {
            text.split_whitespace().filter_map(|name| names.iter().position(|known| *known == name)).collect()
        };
        let mut special: Vec<_> =
            settings.order.iter().filter_map(|(key, engines)| Some((pair(key)?, list(engines)))).collect();
        special.sort_by_key(|((source, target), _)| (source.is_none(), target.is_none()));
        Self { usual: list(&settings.engines), special }
    }

    /// The engines that have the pair, best first.
    pub(super) fn of(&self, source: Lang, target: Lang, has: impl Fn(usize) -> bool) -> Vec<usize> {
        let fits = |side: &Side, lang: Lang| side.is_none_or(|side| side == lang);
        let special = self.special.iter().find(|((s, t), _)| fits(s, source) && fits(t, target));
        let engines = special.map_or(&self.usual, |(_, engines)| engines);
        engines.iter().copied().filter(|at| has(*at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_exact_order_counts() {
        let settings: TranslatorSettings =
            toml::from_str("engines = 'firefox apertium deepl'\n[order]\nen-es = 'deepl apertium'\n'*-es' = 'apertium'\n'en-*' = ''")
                .unwrap();
        let order = Order::new(&settings, &["apertium", "firefox", "deepl"]);
        let of =
            |source, target| order.of(Lang::parse(source).unwrap(), Lang::parse(target).unwrap(), |_| true);
        assert_eq!(of("en", "es"), [2, 0]);
        assert_eq!(of("fr", "es"), [0]);
        assert_eq!(of("en", "fr"), [] as [usize; 0]);
        assert_eq!(of("fr", "de"), [1, 0, 2]);
    }
}
