/**
 * What src/litert calls of LiteRT, as Java sees it, with nothing behind it: to compile against where Google's Maven is
 * out of reach.
 *
 * <p>By the Kotlin sources of github.com/google-ai-edge/LiteRT under litert/kotlin/src/main at tag v2.2.0 (145c7523) and
 * at f6745779 (21 August 2026), before 2.3.0 was cut. A newer library may differ.
 */
package com.google.ai.edge.litert;
