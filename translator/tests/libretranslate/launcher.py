# Runs the real LibreTranslate with Apertium in the place of its models, which are gigabytes: its HTTP layer, its checks and its
# limits are its own. Its flags go through: launcher.py --host 127.0.0.1 --port 5000 ...
# Or, calls in a minute and the key that allows them: launcher.py keys FILE 100 KEY ...
import subprocess, sys, types


def module(name, **contents):
    made = types.ModuleType(name)
    made.__dict__.update(contents)
    sys.modules[name] = made
    return made


class Hypothesis:
    def __init__(self, value):
        self.value = value


class Translation:
    def __init__(self, source, target):
        self.mode = f"{source}-{target}"

    def hypotheses(self, text, count=4):
        told = subprocess.run(["apertium", "-u", self.mode], input=text, capture_output=True, text=True, check=True)
        return [Hypothesis(told.stdout.rstrip("\n"))] * count


class Language:
    LONG = {"en": "eng", "es": "spa"}

    def __init__(self, code, name):
        self.code, self.name = code, name

    def get_translation(self, target):
        return Translation(self.LONG[self.code], self.LONG[target.code])


LANGUAGES = [Language("en", "English"), Language("es", "Spanish")]
for language in LANGUAGES:
    language.translations_from = [types.SimpleNamespace(to_lang=other) for other in LANGUAGES if other is not language]

nothing = lambda *_, **__: []
translate = module("argostranslate.translate", get_installed_languages=lambda: LANGUAGES, ITranslation=object)
package = module("argostranslate.package", get_installed_packages=lambda: LANGUAGES, update_package_index=nothing)
module("argostranslate", translate=translate, package=package)
# Files and HTML are not what is asked for here.
html = module("argostranslatefiles.translatehtml", translate_html=nothing)
module("argostranslatefiles", get_supported_formats=nothing, translatehtml=html)
module("minisbd", download_models=nothing)

if sys.argv[1] == "keys":
    from libretranslate.api_keys import Database

    keys, rest = Database(sys.argv[2]), sys.argv[3:]
    for limit, key in zip(rest[::2], rest[1::2]):
        keys.add(int(limit), key)
else:
    from libretranslate.main import main

    main()
