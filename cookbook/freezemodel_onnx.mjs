// Runs an ONNX model in JavaScript, with ONNX Runtime compiled to WebAssembly: the same in a browser and in Node.
//
//     node cookbook/freezemodel_onnx.mjs [MODEL.onnx [IMAGES.npy [RESULTS.npy]]]
//
// Reads results/images.npy (make models), results/cnn.onnx and results/cnn.npy, TensorFlow's results for these images
// (freezemodel_to_onnx.py).
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const TOLERANCE = 1e-5;

function fail(message) {
  throw new Error(message);
}

function loadRuntime() {
  try {
    return createRequire(new URL("../.cache/node/", import.meta.url))("onnxruntime-web");
  } catch {
    return fail("no package: onnxruntime-web (make .cache/node/complete installs it)");
  }
}

const read = (path, maker) => readFile(path).catch(() => fail(`no such file: ${path} (run ${maker} first)`));

// An array of float32 as numpy.save writes it: ten bytes, a header with the shape, and the numbers.
function parseArray(file, path) {
  const start = 10 + (file.length > 10 ? file.readUInt16LE(8) : 0);
  const header = /'descr': '<f4', 'fortran_order': False, 'shape': \(([\d, ]*)\)/.exec(file.toString("latin1", 10, start));
  if (!header) fail(`not an array of float32: ${path}`);
  const shape = header[1].split(",").filter((size) => size.trim()).map(Number);
  return { values: new Float32Array(file.buffer.slice(file.byteOffset + start, file.byteOffset + file.length)), shape };
}

async function main([model = "results/cnn.onnx", images = "results/images.npy", expected = "results/cnn.npy"]) {
  const converter = ".cache/tf2onnx/bin/python cookbook/freezemodel_to_onnx.py";
  const bytes = await read(model, converter);
  const { values, shape } = parseArray(await read(images, "make models"), images);
  const { values: wanted } = parseArray(await read(expected, converter), expected);
  const ort = loadRuntime();
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(bytes).catch(() => fail(`not an ONNX model: ${model}`));
  const results = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", values, shape) });
  const { data, dims } = results[session.outputNames[0]];
  for (let row = 0; row < dims[0]; row++) {
    const probabilities = [...data.slice(row * dims[1], (row + 1) * dims[1])];
    // JavaScript has only float64: without rounding, a float32 shows digits that it does not have.
    const digits = probabilities.map((value) => value.toFixed(6)).join(" ");
    console.log(`class ${probabilities.indexOf(Math.max(...probabilities))}: ${digits}`);
  }
  const equal = data.length === wanted.length && data.every((value, i) => Math.abs(value - wanted[i]) <= TOLERANCE);
  if (!equal) fail(`not equal to TensorFlow's results: ${model}`);
  console.log(`equal to TensorFlow's results to ${TOLERANCE}`);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`freezemodel_onnx.mjs: ${error.message.split("\n")[0]}`);
  process.exit(1);
});
