// Runs a model in ONNX's format in JavaScript: ONNX Runtime as WebAssembly, the same in a browser and in Node.
//
//     node cookbook/freezemodel_onnx.mjs [MODEL.onnx [IMAGES.npy]]
//
// Reads results/cnn.onnx (freezemodel_to_onnx.py) and results/images.npy; make .cache/node/complete brings the runtime.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const require = createRequire(new URL("../.cache/node/", import.meta.url));

// An array of float32 as numpy.save writes it: ten bytes, a header that tells the shape, and the numbers.
async function readArray(path) {
  const file = await readFile(path);
  const start = 10 + file.readUInt16LE(8);
  const header = /'descr': '<f4', 'fortran_order': False, 'shape': \(([\d, ]*)\)/.exec(file.toString("latin1", 10, start));
  if (!header) throw new Error(`not an array of float32: ${path}`);
  const shape = header[1].split(",").filter((size) => size.trim()).map(Number);
  return { values: new Float32Array(file.buffer.slice(file.byteOffset + start, file.byteOffset + file.length)), shape };
}

async function main([model = "results/cnn.onnx", images = "results/images.npy"]) {
  const ort = require("onnxruntime-web");
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(await readFile(model));
  const { values, shape } = await readArray(images);
  const results = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", values, shape) });
  const { data, dims } = results[session.outputNames[0]];
  for (let row = 0; row < dims[0]; row++) {
    const probabilities = [...data.slice(row * dims[1], (row + 1) * dims[1])];
    console.log(`class ${probabilities.indexOf(Math.max(...probabilities))}: ${probabilities.join(" ")}`);
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`freezemodel_onnx.mjs: ${error.message.split("\n")[0]}`);
  process.exit(1);
});
