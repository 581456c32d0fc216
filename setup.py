"Reads `settings.ini` and builds the native kernels in `kernels/` as an optional extension."
import configparser, os, shlex
from pathlib import Path
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

root = Path(__file__).parent
cfg = configparser.ConfigParser(delimiters=['='])
cfg.read(root/'settings.ini', encoding='utf-8')
cfg = cfg['DEFAULT']
words = lambda key: shlex.split(cfg.get(key, ''))
minor = int(cfg['min_python'].split('.')[1])

class BuildKernels(build_ext):
    "Plain C functions in one shared library; a missing or old compiler is not an error."
    def get_export_symbols(self, ext): return ext.export_symbols  # no PyInit_ function on Windows
    def build_extension(self, ext):
        msvc = self.compiler.compiler_type == 'msvc'
        ext.extra_compile_args = ['/O2', '/openmp', '/std:c++17'] if msvc else ['-O3', '-fopenmp', '-std=c++17', '-fvisibility=hidden']
        ext.extra_link_args = [] if msvc else ['-fopenmp']
        super().build_extension(ext)

sources = sorted(str(p.relative_to(root)) for p in (root/'kernels').glob('*.cpp'))
headers = sorted(str(p.relative_to(root)) for p in (root/'kernels').glob('*.h'))
native = sources and os.environ.get('RGBX_SEG_NO_NATIVE') != '1'

setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
    author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
    long_description=(root/'README.md').read_text(encoding='utf-8') if (root/'README.md').exists() else '',
    long_description_content_type='text/markdown',
    classifiers=['Intended Audience :: Science/Research', 'Natural Language :: English'] +
                [f'Programming Language :: Python :: 3.{v}' for v in range(minor, 14)],
    packages=find_packages(include=[cfg['lib_path'], cfg['lib_path']+'.*']), include_package_data=True,
    package_data={cfg['lib_path']: ['py.typed', 'models/weights.json']},
    install_requires=words('requirements'), python_requires='>='+cfg['min_python'], zip_safe=False,
    extras_require={k.removesuffix('_requirements'): words(k) for k in cfg if k.endswith('_requirements')},
    entry_points={'console_scripts': words('console_scripts'), 'nbdev': [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"]},
    ext_modules=[Extension('rgbx_seg._kernels', sources, depends=headers, optional=True)] if native else [],
    cmdclass={'build_ext': BuildKernels},
)
