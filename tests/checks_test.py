#!/usr/bin/env python3
"""Tests of the checks themselves: each must see the fault that it is there for."""

import pathlib
import shutil
import tempfile
import unittest

import docs_check
import include_check

ROOT = pathlib.Path(__file__).resolve().parent.parent


class IncludeCheck(unittest.TestCase):
    def check(self, path, line):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True)
            file.write_text(line + "\n")
            return list(include_check.violations(pathlib.Path(folder)))

    def test_an_include_of_the_table_passes(self):
        self.assertEqual(self.check("src/kv/a.h", '#include "base/status.h"'), [])
        self.assertEqual(self.check("src/kv/a.h", '#include "kv/b.h"'), [])
        self.assertEqual(self.check("src/kv/a_test.cpp", '#include "tests/shared_data.h"'), [])

    def test_an_include_outside_the_table_is_named(self):
        self.assertIn("src/kv/a.h:1", self.check("src/kv/a.h", '#include "model/model.h"')[0])
        self.assertTrue(self.check("src/base/a.h", '  #  include "kv/b.h"'))
        self.assertTrue(self.check("src/server/a.cpp", '#include "kv/kv_cache.h"'))

    def test_a_folder_without_a_row_is_named(self):
        self.assertIn("'misc'", self.check("src/misc/a.h", "")[0])

    def test_includes_start_at_src(self):
        self.assertTrue(self.check("src/kv/a.cpp", '#include "a.h"'))
        self.assertTrue(self.check("src/kv/a.cpp", '#include "../base/status.h"'))

    def test_product_code_does_not_include_tests(self):
        self.assertTrue(self.check("src/kv/a.cpp", '#include "tests/shared_data.h"'))

    def test_what_is_compiled_for_one_instruction_set_includes_plain_headers(self):
        self.assertTrue(self.check("src/kernels/quant_avx2.cpp", "#include <vector>"))
        self.assertTrue(self.check("src/kernels/quant_gemm-inl.h", '#include "kernels/kernels.h"'))
        self.assertTrue(self.check("src/kernels/quant.h", "#include <algorithm>"))
        self.assertEqual(self.check("src/kernels/quant_avx2.cpp", "#include <immintrin.h>"), [])
        self.assertEqual(self.check("src/kernels/quant_avx2.cpp", '#include "kernels/quant_x86-inl.h"'), [])
        self.assertEqual(self.check("src/kernels/quant_test.cpp", "#include <vector>"), [])

    def test_kernels_have_no_threads(self):
        self.assertTrue(self.check("src/kernels/a.cpp", "#include <thread>"))
        self.assertTrue(self.check("src/kernels/a.cpp", '#include "base/thread_pool.h"'))
        self.assertEqual(self.check("src/kernels/a_test.cpp", "#include <thread>"), [])


class DocsCheck(unittest.TestCase):
    def check(self, document, text):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "docs").mkdir()
            for file in ("docs/architecture.md", ".env.example", "docker-compose.yml"):
                shutil.copy(ROOT / file, root / file)
            for entry in ("src", "apps", "tests", "bench", "fuzz", "tools", "cmake", "dev", ".ci"):
                if (ROOT / entry).exists():
                    (root / entry).symlink_to(ROOT / entry)
            known = list(docs_check.problems(root, None))
            with (root / document).open("a") as file:
                file.write(text + "\n")
            return [p for p in docs_check.problems(root, None) if p not in known]

    def test_a_missing_file_is_named(self):
        self.assertIn("src/base/nowhere.h", self.check("README.md", "see `src/base/nowhere.h`")[0])
        self.assertTrue(self.check("README.md", "[x](docs/nowhere.md)"))
        self.assertEqual(self.check("README.md", "see `src/base/status.h`"), [])

    def test_an_unknown_flag_or_variable_is_named(self):
        # Put together here, because this file is among the sources in which the check looks.
        self.assertTrue(self.check("README.md", "`" + "--" + "no-such-flag`"))
        self.assertTrue(self.check(".env.example", "KVASIR_" + "NO_SUCH_VARIABLE=1"))
        self.assertTrue(self.check("README.md", "./dev " + "dance"))

    def test_a_setting_that_compose_does_not_pass_on_is_named(self):
        self.assertIn("docker-compose.yml", self.check(".env.example", "HF_NEW_SETTING=")[0])

    def test_a_different_table_is_named(self):
        self.assertTrue(self.check("docs/architecture.md", "| `kv` | who owns which block | `model` |"))


if __name__ == "__main__":
    unittest.main()
