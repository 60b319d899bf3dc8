// The app: activities, camera, the engines. Its flavor litert adds src/litert; build.sh compiles src/central instead.
plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "org.ghostedge.demo"
    compileSdk = libs.versions.compileSdk.get().toInt()

    defaultConfig {
        applicationId = "org.ghostedge.demo"
        minSdk = libs.versions.minSdk.get().toInt()
        targetSdk = libs.versions.targetSdk.get().toInt()
        versionCode = libs.versions.appCode.get().toInt()
        versionName = libs.versions.app.get()
        ndk {
            abiFilters += "arm64-v8a"
        }
    }

    flavorDimensions += "runtime"
    productFlavors {
        create("litert") {
            dimension = "runtime"
            buildConfigField("String", "LITERT_VERSION", "\"${libs.versions.litert.get()}\"")
        }
    }

    buildFeatures {
        buildConfig = true
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }

    androidResources {
        noCompress += "tflite" // stored, so that it can be mapped
    }

    sourceSets.getByName("main").assets.srcDir(layout.buildDirectory.dir("models"))
}

// The models of a `ghostedge export`: gradle assembleDebug -Pmodels=/path/to/its/output. Without it none is bundled.
val bundleModels by tasks.registering(Sync::class) {
    providers.gradleProperty("models").orNull?.let { folder ->
        from(folder) {
            include("*.tflite", "*.golden.npz")
        }
    }
    into(layout.buildDirectory.dir("models/models"))
}

tasks.named("preBuild") {
    dependsOn(bundleModels)
}

dependencies {
    implementation(project(":core"))
    "litertImplementation"(libs.litert.runtime)
    "litertImplementation"(libs.litert.gpu) // the GPU is a library of its own
}
