from setuptools import find_packages, setup

ONNX = ["onnx>=1.20,<2", "tf2onnx>=1.17,<2", "onnxruntime>=1.23,<2"]  # writes .onnx files; runs them
LITERT = ["ai-edge-litert>=2.1,<3"]  # runs .tflite files; TensorFlow writes them

setup(
    name="tfprune",
    version="0.1.0",
    description="Pruning of Keras models: five published systems under one roof, smaller Keras models as their result",
    packages=find_packages(include=["tfprune", "tfprune.*"]),
    package_data={"": ["*.pyi"], "tfprune": ["py.typed"]},
    python_requires=">=3.11",
    entry_points={"console_scripts": ["tfprune = tfprune.cli.main:main"]},
    install_requires=[
        "tensorflow>=2.21,<2.23",
        "keras>=3.15,<4",
        "numpy>=2.0,<3",
        "tensorflow-datasets>=4.9.9,<5",
        "importlib_resources>=6",  # used by tensorflow-datasets, which does not ask for it
        "scipy>=1.14,<2",
        "dppy>=0.3.3,<0.4",  # k-DPPs drawn by another hand, to check ours
        "matplotlib>=3.9,<4",
        "pillow>=10.4,<14",  # AugMix's operations
        "scikit-learn>=1.5,<2",  # ships the digits that `make demo` runs on
        "jsonargparse>=4.40,<5",
        "pyyaml>=6,<7",
        "tqdm>=4.66,<5",
        "rich>=13.7,<16",
        "lazy-loader>=0.6,<1",  # imports a public name on first use
        "tensorboard>=2.20,<3",  # tf.summary asks for it, TensorFlow no longer brings it
    ],
    extras_require={
        "onnx": ONNX,
        "litert": LITERT,
        "dev": [
            *ONNX,
            *LITERT,
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "ruff>=0.14",
            "mypy>=1.18",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
)
