// What the Go test reads: a line of JSON for each test, as soon as it has ended,
// and what went wrong outside of them.

/**
 * @param {AsyncIterable<{type: string, data: any}>} source
 */
export default async function* reporter(source) {
  for await (const { type, data } of source) {
    // What fails outside of any test is told by a diagnostic alone.
    if (type === 'test:diagnostic' && /^(Warning|Error):/.test(data.message)) yield data.message + '\n';
    if ((type !== 'test:pass' && type !== 'test:fail') || data.details.type === 'suite') continue;
    if (data.skip === 'test name does not match pattern') continue; // others were asked for
    yield (
      JSON.stringify({
        'vote-e2e': data.name,
        ok: type === 'test:pass',
        skipped: data.skip !== undefined || data.todo !== undefined,
        seconds: data.details.duration_ms / 1000,
        error: data.details.error === undefined ? '' : describe(data.details.error),
      }) + '\n'
    );
  }
}

/**
 * node:test wraps what a test threw.
 *
 * @param {Error} error
 */
function describe(error) {
  const cause = error.cause instanceof Error ? error.cause : error;
  return String(cause.stack ?? cause.message);
}
