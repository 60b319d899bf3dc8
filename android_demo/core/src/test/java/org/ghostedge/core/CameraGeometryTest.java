package org.ghostedge.core;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public class CameraGeometryTest {
    @Test
    public void phonesAreTurnedUpright() {
        // The usual phone: the back sensor is built in at 90 degrees, the front one at 270.
        assertEquals(90, CameraGeometry.uprightDegrees(90, 0, false));
        assertEquals(0, CameraGeometry.uprightDegrees(90, 90, false));
        assertEquals(180, CameraGeometry.uprightDegrees(90, 270, false));
        assertEquals(270, CameraGeometry.uprightDegrees(270, 0, true));
        assertEquals(0, CameraGeometry.uprightDegrees(270, 90, true));
    }

    @Test
    public void framesAreOfTheSizeThatIsEnough() {
        assertEquals(1, CameraGeometry.frameSize(new int[] {1920, 1280, 640}, new int[] {1080, 720, 480}));
        assertEquals(1, CameraGeometry.frameSize(new int[] {1920, 960, 640}, new int[] {1080, 720, 480}));
        assertEquals(1, CameraGeometry.frameSize(new int[] {4000, 1920}, new int[] {3000, 1080}));
        assertEquals(-1, CameraGeometry.frameSize(new int[0], new int[0]));
    }
}
