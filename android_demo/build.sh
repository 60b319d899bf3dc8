#!/usr/bin/env bash
# Make the demo's signed APK without an Android SDK: JDK, Maven, and Debian's Android tools.
#
#   android_demo/build.sh [--models EXPORT_FOLDER] [--output APK]
#   android_demo/build.sh --fetch
#
# --models   bundle every .tflite of a folder that `ghostedge export` made, with its NAME.golden.npz
# --output   default: android_demo/build/ghostedge-demo.apk
# --fetch    only fetch the jars, into build/jars
#
# It is signed with a key of its own, made once in build/; for your own: GHOSTEDGE_KEYSTORE (PKCS12) and
# GHOSTEDGE_KEYSTORE_PASSWORD. What it makes is checked by check_apk.py.
set -euo pipefail
cd "$(dirname "$0")"

die() { echo "build.sh: $*" >&2; exit 1; }

models= output= fetch=
while [ $# -gt 0 ]; do
  case $1 in
    --models|--output) [ $# -gt 1 ] || die "$1 needs a value"; printf -v "${1#--}" %s "$(cd "$OLDPWD" && realpath -m "$2")"; shift 2 ;;
    --fetch) fetch=yes; shift ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0" >&2; exit 1 ;;
  esac
done
output=${output:-$PWD/build/ghostedge-demo.apk}

need() {
  local missing= tool
  for tool in "$@"; do
    [ -e "$tool" ] || command -v "$tool" >/dev/null || missing="$missing $tool"
  done
  [ -z "$missing" ] || die "missing:$missing; on Debian: apt-get install --no-install-recommends default-jdk-headless maven \
aapt zipalign apksigner android-framework-res dexdump zip unzip"
}

version() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" gradle/libs.versions.toml; }

need java javac mvn

# -- Jars of Maven Central, once for each set of versions
jars=$PWD/build/jars
stamp="$(cat gradle/libs.versions.toml pom.xml | sha256sum)"
if [ "$(cat "$jars/.versions" 2>/dev/null)" != "$stamp" ]; then
  rm -rf "$jars"
  mvn -q -B -f pom.xml dependency:copy "-Djars=$jars" "-DandroidAll=$(version androidAll)" "-Ddx=$(version dx)" \
    "-DtensorflowLite=$(version tensorflowLite)" "-Djunit=$(version junit)" "-Dhamcrest=$(version hamcrest)" >&2
  echo "$stamp" > "$jars/.versions"
fi
[ -z "$fetch" ] || exit 0

framework=/usr/share/android-framework-res/framework-res.apk
need "$framework" keytool aapt aapt2 zipalign apksigner dexdump zip unzip python3

# -- Everything else anew
work=$PWD/build/apk
rm -rf "$work"
mkdir -p "$work"/{gen,classes,assets,tflite,tflite-api,lib}
unzip -q "$jars/tensorflow-lite.aar" classes.jar 'jni/arm64-v8a/*' -d "$work/tflite"
unzip -q "$jars/tensorflow-lite-api.aar" classes.jar -d "$work/tflite-api"

if [ -n "$models" ]; then
  mkdir "$work/assets/models"
  cp "$models"/*.tflite "$work/assets/models/" || die "no .tflite in $models; make some: ghostedge export --target tflite"
  for golden in "$models"/*.golden.npz; do
    [ ! -e "$golden" ] || cp "$golden" "$work/assets/models/"
  done
fi

main=app/src/main
# Gradle takes the package from app/build.gradle.kts; aapt2 wants it in the manifest.
sed 's/<manifest /<manifest package="org.ghostedge.demo" /' "$main/AndroidManifest.xml" > "$work/AndroidManifest.xml"
aapt2 compile --dir "$main/res" -o "$work/res.zip"
aapt2 link -I "$framework" --manifest "$work/AndroidManifest.xml" -A "$work/assets" -0 .tflite --java "$work/gen" \
  --min-sdk-version "$(version minSdk)" --target-sdk-version "$(version targetSdk)" \
  --version-code "$(version appCode)" --version-name "$(version app)" -o "$work/base.apk" "$work/res.zip"

find core/src/main/java "$main/java" app/src/central/java "$work/gen" -name '*.java' > "$work/sources"
javac --release 8 -Xlint:all,-options,-deprecation,-classfile -Werror -proc:none -d "$work/classes" \
  -cp "$jars/android-all.jar:$work/tflite/classes.jar:$work/tflite-api/classes.jar" "@$work/sources"
java -cp "$jars/dalvik-dx.jar" com.android.dx.command.Main --dex --min-sdk-version="$(version minSdk)" \
  --output="$work/classes.dex" "$work/classes" "$work/tflite/classes.jar" "$work/tflite-api/classes.jar"

cp -r "$work/tflite/jni/arm64-v8a" "$work/lib/"
(cd "$work" && zip -q -X base.apk classes.dex && zip -q -X -0 base.apk lib/arm64-v8a/*.so)
# All that is stored, for memory pages of 16 KB; this zipalign's -p knows 4 KB alone.
zipalign -f 16384 "$work/base.apk" "$work/aligned.apk"

keystore=${GHOSTEDGE_KEYSTORE:-$PWD/build/debug.p12} password=${GHOSTEDGE_KEYSTORE_PASSWORD:-android}
if [ -z "${GHOSTEDGE_KEYSTORE:-}" ] && [ ! -f "$keystore" ]; then
  keytool -genkeypair -storetype PKCS12 -keystore "$keystore" -storepass "$password" -alias demo -keyalg RSA \
    -keysize 2048 -validity 10000 -dname 'CN=ghostedge demo' 2>/dev/null
fi
mkdir -p "$(dirname "$output")"
GHOSTEDGE_KEYSTORE_PASSWORD=$password apksigner sign --min-sdk-version "$(version minSdk)" --v4-signing-enabled false \
  --ks "$keystore" --ks-pass env:GHOSTEDGE_KEYSTORE_PASSWORD --out "$work/signed.apk" "$work/aligned.apk"

# npm carries the public API with the level of each member, 4 MB; without npm that one check is left out, aloud.
release=$(version androidTypes)
types=$PWD/build/types-android-$release.tgz
if [ ! -f "$types" ] && command -v npm >/dev/null; then
  (cd build && npm pack --silent "@nativescript/types-android@$release" >/dev/null) \
    && mv "build/nativescript-types-android-$release.tgz" "$types" || echo "build.sh: npm cannot fetch the API levels" >&2
fi
python3 check_apk.py "$work/signed.apk" --types "$types"
mv "$work/signed.apk" "$output"
echo "$output"
