from pathlib import Path

from setuptools import find_packages, setup

ONNX = ["onnx>=1.20,<2", "tf2onnx>=1.17,<2", "onnxruntime>=1.23,<2"]  # writes .onnx files; runs them
LITERT = ["ai-edge-litert>=2.1,<3"]  # runs .tflite files; TensorFlow writes them

setup(
    name="tfprune",
    version="0.1.0",
    description="Pruning of Keras models: smaller models of built-in layers, and five published methods",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The tfprune authors",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["pruning", "Keras", "TensorFlow", "model compression", "sparsity", "lottery ticket"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["tfprune", "tfprune.*"]),
    package_data={"": ["*.pyi"], "tfprune": ["py.typed"]},
    python_requires=">=3.11",
    entry_points={"console_scripts": ["tfprune = tfprune.cli.main:main"]},
    install_requires=[
        "tensorflow>=2.21,<2.23",
        "keras>=3.15,<4",
        "numpy>=2.0,<3",
        "ml-dtypes>=0.5,<1",  # bfloat16 weights in files
        "tensorflow-datasets>=4.9.9,<5",
        "importlib_resources>=6",  # used by tensorflow-datasets, which does not require it
        "tensorflow-probability>=0.25,<0.26",  # draws DPPs of random size; checks our k-DPPs. Imported on use only
        "tf-keras>=2.21,<2.23",  # tensorflow-probability imports it, and does not require it
        "scipy>=1.14,<2",
        "dppy>=0.3.3,<0.4",  # an independent k-DPP sampler, to compare ours with
        "matplotlib>=3.9,<4",
        "pillow>=10.4,<14",  # AugMix's operations
        "scikit-learn>=1.5,<2",  # contains the digits that `make demo` uses
        "jsonargparse>=4.40,<5",
        "msgspec>=0.19,<1",  # checks the types and bounds of what JSON files hold
        "pyyaml>=6,<7",
        "tqdm>=4.66,<5",
        "rich>=13.7,<16",
        "lazy-loader>=0.6,<1",  # imports a public name on first use
        "tensorboard>=2.20,<3",  # tf.summary requires it, TensorFlow no longer installs it
    ],
    extras_require={
        "onnx": ONNX,
        "litert": LITERT,
        "dev": [
            *ONNX,
            *LITERT,
            "pre-commit>=4",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "keras-hub>=0.32,<0.33",  # transformers to test on
            "ruff>=0.14",
            "mypy>=1.18",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
)
